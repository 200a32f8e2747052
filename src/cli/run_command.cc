// lowbit run: continues a prompt, printing each piece of text as soon as it is whole.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "cli/command.h"
#include "cli/printable.h"
#include "cli/threads_option.h"
#include "runtime/generate.h"
#include "text/text_stream.h"
#include "text/tokenizer.h"

namespace lowbit {
namespace {

// A line break cannot be typed into every shell's argument.
Result<std::string> unescaped(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\') {
      result += text[at];
      continue;
    }
    const char escape = ++at < text.size() ? text[at] : ' ';
    if (escape != 'n' && escape != 't' && escape != '\\') {
      return usage_error(
          "run/bad-escape",
          fmt::format("a backslash at byte {} is not followed by n, t or a backslash; "
                      "write two for one",
                      at - 1));
    }
    result += escape == 'n' ? '\n' : escape == 't' ? '\t' : '\\';
  }
  return result;
}

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
    app.add_option("--temperature", rule_.temperature, "0: always the likeliest token")
        ->capture_default_str();
    app.add_option("--top-k", rule_.top_k, "Draw from the k likeliest tokens; 0: from all")
        ->capture_default_str();
    app.add_option(
           "--top-p", rule_.top_p,
           "Draw from the likeliest tokens that together have this probability; 1: from all")
        ->capture_default_str();
    app.add_option(
           "--min-p", rule_.min_p,
           "Draw from tokens with this share of the likeliest one's probability; 0: from all")
        ->capture_default_str();
    app.add_option("--repetition-penalty", rule_.repetition_penalty,
                   "Over 1: makes tokens that were there before less likely")
        ->capture_default_str();
    app.add_option(
           "--stop", stops_,
           "End before this text; may be repeated. \\n, \\t and \\\\ are a line break, a tab and "
           "a backslash")
        ->type_name("TEXT")
        ->allow_extra_args(false);
    app.add_option("--seed", seed_, "Seed of the draws")->capture_default_str();
    threads_.declare(app);
    app.footer("Example:\n  lowbit run out/tiny-w4a4 -p 'The river' --temperature 0");
  }

  Status run() override {
    threads_.apply();
    if (Status status = check(rule_); !status) return status;
    std::vector<std::string> stops;
    for (const std::string& stop : stops_) {
      Result<std::string> text = unescaped(stop);
      if (!text) return within("--stop", text.error());
      stops.push_back(*std::move(text));
    }
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
    Result<TextStream> stream = TextStream::start(*tokenizer, std::move(stops));
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
                                     .rule = rule_,
                                     .seed = seed_,
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
    static const bool kTerminal = isatty(STDOUT_FILENO) == 1;
    // A model's text must not steer the terminal.
    fmt::print("{}", kTerminal ? printable(*text) : *text);
    std::fflush(stdout);
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
  SamplingRule rule_ = {.temperature = 0.8, .top_k = 40};
  std::vector<std::string> stops_;
  std::uint64_t seed_ = 42;
  ThreadsOption threads_;
};

}  // namespace

std::unique_ptr<Command> make_run_command() { return std::make_unique<RunCommand>(); }

}  // namespace lowbit
