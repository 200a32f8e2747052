#include "text/normalizer.h"

#include <fmt/format.h>

#include "text/limits.h"
#include "text/unicode_class.h"
#include "text/unicode_form.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

using tokenizer_limits::grown_limit;

class FormStep : public NormalizerStep {
 public:
  explicit FormStep(UnicodeForm form) : form_(form) {}
  Status apply(NormalizedText& text, MatchBudget&) const override {
    text.text = in_form(text.text, form_);
    return {};
  }

 private:
  UnicodeForm form_;
};

class LowercaseStep : public NormalizerStep {
 public:
  Status apply(NormalizedText& text, MatchBudget&) const override {
    text.text = lowercase(text.text);
    return {};
  }
};

struct Sides {
  bool left = false;
  bool right = false;
};

class StripStep : public NormalizerStep {
 public:
  explicit StripStep(Sides sides) : sides_(sides) {}
  Status apply(NormalizedText& text, MatchBudget&) const override {
    const std::string_view whole = text.text;
    std::size_t begin = 0;
    std::size_t end = whole.size();
    while (sides_.left && begin < end) {
      const CodePoint point = code_point_at(whole, begin);
      if (!is_of_class(point.value, char_class::kSpace)) break;
      begin += point.size;
    }
    while (sides_.right && begin < end) {
      const CodePoint point = code_point_before(whole, end);
      if (!is_of_class(point.value, char_class::kSpace)) break;
      end -= point.size;
    }
    if (begin > 0) text.starts_text = false;
    text.text = std::string(whole.substr(begin, end - begin));
    return {};
  }

 private:
  Sides sides_;
};

class PrependStep : public NormalizerStep {
 public:
  explicit PrependStep(std::string content) : content_(std::move(content)) {}
  Status apply(NormalizedText& text, MatchBudget&) const override {
    if (!text.text.empty()) text.text.insert(0, content_);
    return {};
  }

 private:
  std::string content_;
};

class ReplaceStep : public NormalizerStep {
 public:
  ReplaceStep(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Status apply(NormalizedText& text, MatchBudget& budget) const override {
    const auto spans = pattern_.matches(text.text, budget);
    if (!spans) return spans.error();
    auto replaced = replace_spans(text.text, *spans, content_, grown_limit(text.text.size()));
    if (!replaced) return std::move(replaced).error();
    if (!spans->empty() && takes_start(text.text, spans->front())) text.starts_text = false;
    text.text = *std::move(replaced);
    return {};
  }

 private:
  // What replaces several characters counts as coming from the last of them, and what follows a
  // removed one as itself: the library's bookkeeping, on which "prepend_scheme": "first" depends.
  bool takes_start(std::string_view text, Span match) const {
    if (match.begin > 0 || match.empty()) return false;
    return content_.empty() || match.end > code_point_at(text, 0).size;
  }

  Pattern pattern_;
  std::string content_;
};

using StepResult = Result<std::unique_ptr<NormalizerStep>>;

StepResult read_strip(const JsonPart& part) {
  const auto left = bool_field(part, "strip_left", true);
  if (!left) return left.error();
  const auto right = bool_field(part, "strip_right", true);
  if (!right) return right.error();
  return StepResult(std::make_unique<StripStep>(Sides{*left, *right}));
}

StepResult read_replace(const JsonPart& part) {
  auto pattern = Pattern::read(part);
  if (!pattern) return std::move(pattern).error();
  auto content = string_field(part, "content", "");
  if (!content) return std::move(content).error();
  return StepResult(std::make_unique<ReplaceStep>(*std::move(pattern), *std::move(content)));
}

StepResult read_prepend(const JsonPart& part) {
  auto content = string_field(part, "prepend", "");
  if (!content) return std::move(content).error();
  return StepResult(std::make_unique<PrependStep>(*std::move(content)));
}

StepResult read_step(const JsonPart& part) {
  const auto form = [](UnicodeForm which) { return StepResult(std::make_unique<FormStep>(which)); };
  if (part.type == "NFC") return form(UnicodeForm::nfc);
  if (part.type == "NFD") return form(UnicodeForm::nfd);
  if (part.type == "NFKC") return form(UnicodeForm::nfkc);
  if (part.type == "NFKD") return form(UnicodeForm::nfkd);
  if (part.type == "Lowercase") return StepResult(std::make_unique<LowercaseStep>());
  if (part.type == "Strip") return read_strip(part);
  if (part.type == "Prepend") return read_prepend(part);
  if (part.type == "Replace") return read_replace(part);
  return unsupported(part.name,
                     "NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace, Sequence");
}

}  // namespace

Result<Normalizer> Normalizer::read(const Json& tokenizer) {
  auto parts = parts_of(tokenizer, "normalizer", "normalizers");
  if (!parts) return std::move(parts).error();
  Normalizer normalizer;
  for (const JsonPart& part : *parts) {
    auto step = read_step(part);
    if (!step) return std::move(step).error();
    normalizer.steps_.push_back(*std::move(step));
  }
  return normalizer;
}

Result<NormalizedText> Normalizer::apply(NormalizedText text, MatchBudget& budget) const {
  const std::size_t limit = grown_limit(text.text.size());
  for (const auto& step : steps_) {
    if (auto done = step->apply(text, budget); !done) return std::move(done).error();
    if (text.text.size() > limit) {
      return bad_input("tokenizer/unsupported",
                       fmt::format("normalizer: makes more than {} bytes of the text", limit));
    }
  }
  return text;
}

}  // namespace lowbit
