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
#include "text/tokenizer.h"

namespace lowbit {
namespace {

// Prints the text of a growing run of tokens. What may still change, a character of which only the
// first bytes are there, waits for the next token.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, std::vector<TokenId> prompt)
      : tokenizer_(tokenizer), ids_(std::move(prompt)), terminal_(isatty(STDOUT_FILENO) == 1) {}

  Status add(TokenId id) {
    ids_.push_back(id);
    return print(false);
  }

  Status print(bool all) {
    const Result<std::string> text = tokenizer_.decode(ids_);
    if (!text) return text.error();
    constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // of an unfinished character
    if (text->size() < printed_ || (!all && text->ends_with(kReplacement))) return {};
    const std::string piece = text->substr(printed_);
    printed_ = text->size();
    // A model's text must not steer the terminal.
    fmt::print("{}", terminal_ ? printable(piece) : piece);
    std::fflush(stdout);
    return {};
  }

 private:
  const Tokenizer& tokenizer_;
  std::vector<TokenId> ids_;
  std::size_t printed_ = 0;  // bytes
  bool terminal_;
};

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
    app.add_option("--temperature", temperature_, "0: always the likeliest token")
        ->capture_default_str();
    app.add_option("--top-k", top_k_, "Draw from the k likeliest tokens; 0: from all")
        ->capture_default_str();
    app.add_option("--seed", seed_, "Seed of the draws")->capture_default_str();
    threads_.declare(app);
    app.footer("Example:\n  lowbit run out/tiny-w4a4 -p 'The river' --temperature 0");
  }

  Status run() override {
    threads_.apply();
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
    return generate_from(*model, *tokenizer, std::move(*prompt), std::min(room, max_tokens_));
  }

 private:
  using Clock = std::chrono::steady_clock;

  Status generate_from(const ReferenceModel& model, const Tokenizer& tokenizer,
                       std::vector<TokenId> prompt, std::int64_t most) const {
    TextStream stream(tokenizer, prompt);
    Status printed = stream.print(true);
    if (!printed) return printed;
    std::int64_t tokens = 0;
    Clock::time_point first;
    const auto on_next = [&](std::span<const TokenId> next) {
      if (tokens++ == 0) first = Clock::now();
      const auto& ends = model.spec().eos_tokens;
      if (std::find(ends.begin(), ends.end(), next[0]) != ends.end()) return false;
      printed = stream.add(next[0]);
      return printed.ok();
    };
    const Clock::time_point start = Clock::now();
    const std::int64_t prompt_tokens = std::ssize(prompt);
    const auto sequences = generate(model,
                                    {.sequences = 1,
                                     .length = prompt_tokens + most,
                                     .rule = {.temperature = temperature_, .top_k = top_k_},
                                     .seed = seed_,
                                     .prompt = std::move(prompt),
                                     .on_next = on_next},
                                    {});
    if (!printed) return printed;
    if (printed = stream.print(true); !printed) return printed;
    fmt::print("\n");
    std::fflush(stdout);
    if (!sequences) return sequences.error();
    report(prompt_tokens, tokens, first - start, Clock::now() - first);
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
  double temperature_ = 0.8;
  std::int64_t top_k_ = 40;
  std::uint64_t seed_ = 42;
  ThreadsOption threads_;
};

}  // namespace

std::unique_ptr<Command> make_run_command() { return std::make_unique<RunCommand>(); }

}  // namespace lowbit
