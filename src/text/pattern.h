// A pattern of tokenizer.json: a literal text or a regular expression, found in a text.
//
// Regular expressions are Oniguruma's (Ruby syntax) and run on PCRE2 after a translation; what
// would change its meaning is refused as "tokenizer/unsupported". \p{...} follows the Unicode
// version of the installed PCRE2, except in the three patterns that word_scanner.h knows.
// The pattern is untrusted: backtracking has a limit, and a text under one tokenizer a time.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/json_fields.h"
#include "text/word_scanner.h"

namespace lowbit {

// The time that regular expressions may still take; one for each encode or decode.
class MatchBudget {
 public:
  MatchBudget();
  bool spent();  // counts a call; looks at the clock at the first and every few calls

 private:
  std::chrono::steady_clock::time_point end_;
  unsigned calls_ = 0;
};

enum class PatternEngine { fastest, pcre2 };  // the second only for comparison

class Pattern {
 public:
  static Pattern literal(std::string text);
  static Result<Pattern> regex(const std::string& source,
                               PatternEngine engine = PatternEngine::fastest);
  // {"String": ...} or {"Regex": ...} under "pattern"; a bare string is a literal.
  static Result<Pattern> read(const JsonPart& part);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  // Its matches in order, without overlap. Thread-safe.
  Result<std::vector<Span>> matches(std::string_view text, MatchBudget& budget) const;

  // The same, replaced in the text.
  Result<std::string> replaced(std::string_view text, std::string_view content,
                               std::size_t limit_bytes, MatchBudget& budget) const;

 private:
  class Compiled;
  Pattern();
  std::string literal_;
  std::optional<WordRules> rules_;
  std::unique_ptr<Compiled> compiled_;
};

// `text` with each span replaced; more than `limit_bytes` is an error.
Result<std::string> replace_spans(std::string_view text, const std::vector<Span>& spans,
                                  std::string_view content, std::size_t limit_bytes);

}  // namespace lowbit
