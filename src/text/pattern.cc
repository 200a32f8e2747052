#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <new>

#include "text/limits.h"
#include "text/pattern_syntax.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

namespace limits = tokenizer_limits;

constexpr unsigned kCallsPerLook = 16;

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return {text.begin(), std::find(text.begin(), text.end(), PCRE2_UCHAR{0})};
}

Error bad_pattern(std::string_view source, std::string_view problem) {
  return bad_input("tokenizer/bad-pattern",
                   fmt::format("pattern '{}': {}", source.substr(0, 200), problem));
}

// PCRE2 reads "no length" from a null pointer that an empty view may have.
PCRE2_SPTR code_units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.empty() ? "" : text.data());
}

}  // namespace

MatchBudget::MatchBudget()
    : end_(std::chrono::steady_clock::now() + std::chrono::seconds(limits::kMatchSeconds)) {}

bool MatchBudget::spent() {
  return calls_++ % kCallsPerLook == 0 && std::chrono::steady_clock::now() > end_;
}

class Pattern::Compiled {
 public:
  static Result<std::unique_ptr<Compiled>> compile(const std::string& source);
  Result<std::vector<Span>> matches(std::string_view text, MatchBudget& budget) const;

 private:
  // One search for a match that starts in [from, last]: PCRE2's count of captures or its error.
  int search(std::string_view text, std::size_t from, std::size_t last, pcre2_match_data* data,
             pcre2_match_context* context) const {
    pcre2_set_offset_limit(context, last);
    int found = pcre2_match(code_.get(), code_units(text), text.size(), from, PCRE2_NO_UTF_CHECK,
                            data, context);
    // The compiled code has a small stack of its own; the interpreter takes it from the heap.
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
      found = pcre2_match(code_.get(), code_units(text), text.size(), from,
                          PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, context);
    }
    return found;
  }

  std::string source_;
  Owned<pcre2_code> code_;
};

Result<std::unique_ptr<Pattern::Compiled>> Pattern::Compiled::compile(const std::string& source) {
  if (source.size() > limits::kPatternBytes) {
    return bad_pattern(source, fmt::format("has {} bytes, expected at most {}", source.size(),
                                           limits::kPatternBytes));
  }
  auto translated = pcre2_syntax(source);
  if (!translated) return std::move(translated).error();
  const Owned<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  // Ruby's ^ and $ match at every line; \C would cut characters in two.
  constexpr std::uint32_t kOptions =
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;
  int problem = 0;
  std::size_t at = 0;
  auto compiled = std::make_unique<Compiled>();
  compiled->source_ = source;
  compiled->code_.reset(pcre2_compile(code_units(*translated), translated->size(), kOptions,
                                      &problem, &at, context.get()));
  if (compiled->code_ == nullptr) {
    return bad_pattern(source, fmt::format("{} (near byte {})", message_of(problem), at));
  }
  // Without a compiler for this processor the interpreter runs the pattern.
  pcre2_jit_compile(compiled->code_.get(), PCRE2_JIT_COMPLETE);
  return compiled;
}

// As Oniguruma's find_iter: an empty match right behind the last match does not count.
Result<std::vector<Span>> Pattern::Compiled::matches(std::string_view text,
                                                     MatchBudget& budget) const {
  const Owned<pcre2_match_data> data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  const Owned<pcre2_match_context> context(pcre2_match_context_create(nullptr));
  if (data == nullptr || context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(context.get(), limits::kMatchSteps);
  const auto next_character = [&](std::size_t at) {
    return at < text.size() ? at + code_point_at(text, at).size : at + 1;
  };
  std::vector<Span> spans;
  std::size_t from = 0;
  while (from <= text.size()) {
    if (budget.spent()) {
      return bad_pattern(source_, fmt::format("took more than {} seconds on a text; simplify it",
                                              limits::kMatchSeconds));
    }
    std::size_t last = std::min(text.size(), from + limits::kMatchStarts);
    while (last < text.size() && (text[last] & 0xC0) == 0x80) ++last;
    const int found = search(text, from, last, data.get(), context.get());
    if (found == PCRE2_ERROR_NOMATCH) {
      from = next_character(last);
      continue;
    }
    if (found < 0) return bad_pattern(source_, message_of(found));
    const std::size_t* range = pcre2_get_ovector_pointer(data.get());
    if (range[0] > range[1] || (!spans.empty() && range[0] < spans.back().end)) {
      return bad_pattern(source_, "a match ends before it starts");
    }
    const bool repeats = range[0] == range[1] && !spans.empty() && spans.back().end == range[1];
    if (repeats) {
      from = next_character(range[1]);
      continue;
    }
    spans.push_back({static_cast<std::uint32_t>(range[0]), static_cast<std::uint32_t>(range[1])});
    from = range[1];
  }
  return spans;
}

Pattern::Pattern() = default;
Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Result<Pattern> Pattern::regex(const std::string& source, PatternEngine engine) {
  Pattern pattern;
  if (engine == PatternEngine::fastest) pattern.rules_ = rules_of(source);
  if (pattern.rules_) return pattern;
  auto compiled = Compiled::compile(source);
  if (!compiled) return std::move(compiled).error();
  pattern.compiled_ = *std::move(compiled);
  return pattern;
}

Result<Pattern> Pattern::read(const JsonPart& part) {
  const Json* json = find_field(*part.json, "pattern");
  if (json != nullptr && json->is_string()) return literal(json->get<std::string>());
  if (json != nullptr && json->is_object() && json->size() == 1 && json->front().is_string()) {
    const auto& text = json->front().get_ref<const std::string&>();
    if (json->contains("String")) return literal(text);
    if (json->contains("Regex")) return regex(text);
  }
  return syntax_error(part.name + R"(: "pattern" is not {"String": "..."} or {"Regex": "..."})");
}

Result<std::vector<Span>> Pattern::matches(std::string_view text, MatchBudget& budget) const {
  if (rules_) return scan_words(text, *rules_);
  if (compiled_) return compiled_->matches(text, budget);
  std::vector<Span> spans;
  if (literal_.empty()) return spans;
  for (std::size_t at = text.find(literal_); at != text.npos;
       at = text.find(literal_, at + literal_.size())) {
    spans.push_back(
        {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at + literal_.size())});
  }
  return spans;
}

Result<std::string> Pattern::replaced(std::string_view text, std::string_view content,
                                      std::size_t limit_bytes, MatchBudget& budget) const {
  auto spans = matches(text, budget);
  if (!spans) return std::move(spans).error();
  return replace_spans(text, *spans, content, limit_bytes);
}

Result<std::string> replace_spans(std::string_view text, const std::vector<Span>& spans,
                                  std::string_view content, std::size_t limit_bytes) {
  std::string out;
  std::size_t copied = 0;
  for (const Span& span : spans) {
    if (out.size() + (span.begin - copied) + content.size() > limit_bytes) {
      return bad_input("tokenizer/unsupported",
                       fmt::format("replacing by '{}' makes more than {} bytes of the text",
                                   content.substr(0, 80), limit_bytes));
    }
    out += text.substr(copied, span.begin - copied);
    out += content;
    copied = span.end;
  }
  out += text.substr(copied);
  return out;
}

}  // namespace lowbit
