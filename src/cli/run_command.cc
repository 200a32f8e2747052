// lowbit run: continues a prompt, printing each piece of text as soon as it is whole.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "cli/command.h"
#include "cli/kv_option.h"
#include "cli/sampling_options.h"
#include "cli/threads_option.h"
#include "runtime/generate.h"
#include "text/text_stream.h"
#include "text/tokenizer.h"

namespace lowbit {
namespace {

class RunCommand : public Command {
 public:
  std::string name() const override { return "run"; }
  std::string purpose() const override { return "Continue a prompt"; }

  void declare(CLI::App& app) override {
    app.add_option("MODEL", model_, "Model folder, packed or float")->required();
    app.add_option("-p,--prompt", prompt_, "The text to continue")->required();
    app.add_option("-n,--max-tokens", max_tokens_, "Most tokens to add")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
        ->capture_default_str();
    sampling_.declare(app);
    kv_.declare(app, KvType::f16);
    threads_.declare(app);
    app.footer("Example:\n  lowbit run out/tiny-w4a4 -p 'The river' --temperature 0");
  }

  Status run() override {
    threads_.apply();
    Result<std::vector<std::string>> stops = sampling_.checked_stops();
    if (!stops) return stops.error();
    const Result<ReferenceModel> model = ReferenceModel::open(real_file_system(), model_);
    if (!model) return model.error();
    const Result<Tokenizer> tokenizer = Tokenizer::load(real_file_system(), model_);
    if (!tokenizer) return tokenizer.error();
    Result<std::vector<TokenId>> prompt = tokenizer->encode(prompt_, SpecialTokens::add);
    if (!prompt) return within("--prompt", prompt.error());
    const std::int64_t room = model->spec().max_positions - std::ssize(*prompt);
    if (room < 1) {
      return usage_error(
          "run/prompt-too-long",
          fmt::format("--prompt: {} tokens; the model has {} positions, one of which "
                      "must be left",
                      prompt->size(), model->spec().max_positions));
    }
    Result<TextStream> stream = TextStream::start(*tokenizer, *std::move(stops));
    if (!stream) return within("--stop", stream.error());
    return generate_from(*model, *stream, *std::move(prompt), std::min(room, max_tokens_));
  }

 private:
  using Clock = std::chrono::steady_clock;

  Status generate_from(const ReferenceModel& model, TextStream& stream, std::vector<TokenId> prompt,
                       std::int64_t most) const {
    Status printed = print(stream.precede(prompt));
    if (!printed) return printed;
    std::int64_t tokens = 0;
    Clock::time_point first;
    const auto on_next = [&](std::span<const TokenId> next) {
      if (tokens++ == 0) first = Clock::now();
      const auto& ends = model.spec().eos_tokens;
      if (std::find(ends.begin(), ends.end(), next[0]) != ends.end()) return false;
      printed = print(stream.add(next[0]));
      return printed.ok() && !stream.stop();
    };
    const Clock::time_point start = Clock::now();
    const std::int64_t prompt_tokens = std::ssize(prompt);
    const auto sequences = generate(model,
                                    {.sequences = 1,
                                     .length = prompt_tokens + most,
                                     .rule = sampling_.rule,
                                     .seed = sampling_.seed,
                                     .kv = kv_.type(model),
                                     .prompt = std::move(prompt),
                                     .on_next = on_next},
                                    {});
    if (!printed) return printed;
    if (printed = print(stream.finish()); !printed) return printed;
    fmt::print("\n");
    std::fflush(stdout);
    if (!sequences) return sequences.error();
    report(prompt_tokens, tokens, first - start, Clock::now() - first);
    return {};
  }

  static Status print(const Result<std::string>& text) {
    if (!text) return text.error();
    print_model_text(*text);
    return {};
  }

  static void report(std::int64_t prompt_tokens, std::int64_t tokens,
                     std::chrono::duration<double> to_first, std::chrono::duration<double> rest) {
    fmt::print(stderr, "{} prompt tokens, first token after {:.2f} s with loading", prompt_tokens,
               to_first.count());
    if (tokens > 1 && rest.count() > 0) {
      fmt::print(stderr, ", then {:.1f} tokens/s", static_cast<double>(tokens - 1) / rest.count());
    }
    fmt::print(stderr, "\n");
  }

  std::string model_, prompt_;
  std::int64_t max_tokens_ = 128;
  SamplingOption sampling_;
  KvOption kv_;
  ThreadsOption threads_;
};

}  // namespace

std::unique_ptr<Command> make_run_command() { return std::make_unique<RunCommand>(); }

}  // namespace lowbit
