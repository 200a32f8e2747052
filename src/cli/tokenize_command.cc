// lowbit tokenize: the ids of a text.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/file.h"
#include "cli/command.h"
#include "text/tokenizer.h"

namespace lowbit {
namespace {

constexpr std::uint64_t kTextLimitBytes = std::uint64_t{1} << 32;

class TokenizeCommand : public Command {
 public:
  std::string name() const override { return "tokenize"; }
  std::string purpose() const override { return "Print the token ids of a text"; }

  void declare(CLI::App& app) override {
    app.add_option("MODEL", model_, "Model folder with a tokenizer.json")->required();
    CLI::Option_group* source = app.add_option_group("text", "what to tokenize, one of");
    source->add_option("--file", file_, "Text file");
    text_option_ = source->add_option("--text", text_, "The text itself");
    source->require_option(1);
    app.add_flag("--count", count_, "Print how many there are instead");
    app.add_flag("--special", special_,
                 "Add the tokens that a prompt begins and ends with (BOS, EOS)");
    app.footer("Example:\n  lowbit tokenize models/tiny-llama --text 'Hello world'");
  }

  Status run() override {
    const Result<Tokenizer> tokenizer = Tokenizer::load(real_file_system(), model_);
    if (!tokenizer) return tokenizer.error();
    if (text_option_->count() == 0) {
      Result<std::string> content = real_file_system().read(file_, kTextLimitBytes);
      if (!content) return content.error();
      text_ = std::move(*content);
    }
    const Result<std::vector<TokenId>> ids =
        tokenizer->encode(text_, special_ ? SpecialTokens::add : SpecialTokens::none);
    if (!ids) return file_.empty() ? ids.error() : within(file_, ids.error());
    if (count_) {
      fmt::print("{}\n", ids->size());
    } else {
      fmt::print("{}\n", fmt::join(*ids, " "));
    }
    return {};
  }

 private:
  std::string model_, file_, text_;
  CLI::Option* text_option_ = nullptr;
  bool count_ = false;
  bool special_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize_command() { return std::make_unique<TokenizeCommand>(); }

}  // namespace lowbit
