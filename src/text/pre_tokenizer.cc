#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include "text/byte_alphabet.h"
#include "text/limits.h"
#include "text/metaspace.h"
#include "text/unicode_class.h"

namespace lowbit {
namespace {

using StepResult = Result<std::unique_ptr<PreTokenizerStep>>;

class SplitStep : public PreTokenizerStep {
 public:
  SplitStep(Pattern pattern, SplitBehavior behavior, SplitOn on)
      : pattern_(std::move(pattern)), behavior_(behavior), on_(on) {}
  Result<Pieces> apply(Pieces pieces, MatchBudget& budget) const override {
    const auto find = [&](std::string_view piece) { return pattern_.matches(piece, budget); };
    return split(std::move(pieces), find, behavior_, on_);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  SplitOn on_;
};

class ClassStep : public PreTokenizerStep {
 public:
  ClassStep(std::uint8_t classes, SplitBehavior behavior)
      : classes_(classes), behavior_(behavior) {}
  Result<Pieces> apply(Pieces pieces, MatchBudget&) const override {
    return split_at_class(std::move(pieces), classes_, behavior_);
  }

 private:
  std::uint8_t classes_;
  SplitBehavior behavior_;
};

// \w+|[^\w\s]+, with the spaces removed.
class WhitespaceStep : public PreTokenizerStep {
 public:
  Result<Pieces> apply(Pieces pieces, MatchBudget&) const override {
    pieces = split_at_class(std::move(pieces), char_class::kSpace, SplitBehavior::removed);
    return split_at_class(std::move(pieces), char_class::kWord, SplitBehavior::contiguous);
  }
};

struct ByteLevelOptions {
  bool add_prefix_space = true;  // before each piece that has none
  bool use_regex = true;         // cut by GPT-2's pattern
};

class ByteLevelStep : public PreTokenizerStep {
 public:
  explicit ByteLevelStep(ByteLevelOptions options) : options_(options) {}
  Result<Pieces> apply(Pieces pieces, MatchBudget&) const override {
    if (options_.add_prefix_space) {
      pieces = rewrite(pieces, [](std::string_view piece, std::size_t, std::string& out) {
        if (!piece.starts_with(' ')) out += ' ';
        out += piece;
      });
    }
    if (options_.use_regex) {
      const auto find = [](std::string_view piece) -> Result<std::vector<Span>> {
        return scan_words(piece, WordRules::gpt2);
      };
      auto words = split(std::move(pieces), find, SplitBehavior::isolated, SplitOn::matches);
      if (!words) return words;
      pieces = *std::move(words);
    }
    return rewrite(pieces, [](std::string_view piece, std::size_t, std::string& out) {
      append_as_characters(piece, out);
    });
  }

 private:
  ByteLevelOptions options_;
};

class MetaspaceStep : public PreTokenizerStep {
 public:
  explicit MetaspaceStep(Metaspace options) : options_(std::move(options)) {}
  Result<Pieces> apply(Pieces pieces, MatchBudget& budget) const override {
    const bool starts_text = pieces.starts_text;
    const auto mark = [&](std::string_view piece, std::size_t index, std::string& out) {
      const bool first = starts_text && index == 0;
      const bool wanted = options_.prepend == Metaspace::Prepend::always ||
                          (options_.prepend == Metaspace::Prepend::first && first);
      const bool marked = piece.starts_with(' ') || piece.starts_with(options_.replacement);
      if (wanted && !marked) out += options_.replacement;
      for (const char c : piece) {
        if (c == ' ') {
          out += options_.replacement;
        } else {
          out += c;
        }
      }
    };
    pieces = rewrite(pieces, mark);
    if (!options_.split) return pieces;
    const Pattern replacement = Pattern::literal(options_.replacement);
    const auto find = [&](std::string_view piece) { return replacement.matches(piece, budget); };
    return lowbit::split(std::move(pieces), find, SplitBehavior::merged_with_next,
                         SplitOn::matches);
  }

 private:
  Metaspace options_;
};

StepResult read_split(const JsonPart& part) {
  auto pattern = Pattern::read(part);
  if (!pattern) return std::move(pattern).error();
  const auto behavior = read_behavior(part, "");
  if (!behavior) return behavior.error();
  const auto invert = bool_field(part, "invert", false);
  if (!invert) return invert.error();
  const SplitOn on = *invert ? SplitOn::gaps : SplitOn::matches;
  return StepResult(std::make_unique<SplitStep>(*std::move(pattern), *behavior, on));
}

StepResult read_byte_level(const JsonPart& part) {
  const auto prefix = bool_field(part, "add_prefix_space", true);
  if (!prefix) return prefix.error();
  const auto regex = bool_field(part, "use_regex", true);
  if (!regex) return regex.error();
  return StepResult(std::make_unique<ByteLevelStep>(
      ByteLevelOptions{.add_prefix_space = *prefix, .use_regex = *regex}));
}

StepResult read_digits(const JsonPart& part) {
  const auto single = bool_field(part, "individual_digits", false);
  if (!single) return single.error();
  return StepResult(std::make_unique<ClassStep>(
      char_class::kNumeric, *single ? SplitBehavior::isolated : SplitBehavior::contiguous));
}

StepResult read_punctuation(const JsonPart& part) {
  const auto behavior = read_behavior(part, "Isolated");
  if (!behavior) return behavior.error();
  return StepResult(std::make_unique<ClassStep>(char_class::kPunctuation, *behavior));
}

StepResult read_metaspace_step(const JsonPart& part) {
  auto options = read_metaspace(part);
  if (!options) return std::move(options).error();
  return StepResult(std::make_unique<MetaspaceStep>(*std::move(options)));
}

StepResult read_step(const JsonPart& part) {
  if (part.type == "Split") return read_split(part);
  if (part.type == "ByteLevel") return read_byte_level(part);
  if (part.type == "Metaspace") return read_metaspace_step(part);
  if (part.type == "Digits") return read_digits(part);
  if (part.type == "Punctuation") return read_punctuation(part);
  if (part.type == "Whitespace") return StepResult(std::make_unique<WhitespaceStep>());
  if (part.type == "WhitespaceSplit") {
    return StepResult(std::make_unique<ClassStep>(char_class::kSpace, SplitBehavior::removed));
  }
  return unsupported(part.name,
                     "Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, "
                     "WhitespaceSplit, Sequence");
}

}  // namespace

Result<PreTokenizer> PreTokenizer::read(const Json& tokenizer) {
  auto parts = parts_of(tokenizer, "pre_tokenizer", "pretokenizers");
  if (!parts) return std::move(parts).error();
  PreTokenizer pre_tokenizer;
  for (const JsonPart& part : *parts) {
    auto step = read_step(part);
    if (!step) return std::move(step).error();
    pre_tokenizer.steps_.push_back(*std::move(step));
  }
  return pre_tokenizer;
}

Result<Pieces> PreTokenizer::apply(Pieces pieces, MatchBudget& budget) const {
  const std::size_t limit = tokenizer_limits::grown_limit(pieces.text.size());
  for (const auto& step : steps_) {
    auto next = step->apply(std::move(pieces), budget);
    if (!next) return next;
    pieces = *std::move(next);
    if (pieces.text.size() > limit) {
      return bad_input("tokenizer/unsupported",
                       fmt::format("pre_tokenizer: makes more than {} bytes of the text", limit));
    }
  }
  return pieces;
}

}  // namespace lowbit
