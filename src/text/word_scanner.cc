#include "text/word_scanner.h"

#include "text/unicode_class.h"
#include "text/utf8.h"

namespace lowbit {

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::uint8_t kNamed = char_class::kLetter | char_class::kNumber | char_class::kSpace;
constexpr char32_t kLongS = 0x17F;  // folds to s, as (?i:s) of the library has it

bool is_newline(char32_t point) { return point == '\r' || point == '\n'; }

char32_t folded(char32_t point) {
  if (point == kLongS) return 's';
  return point >= 'A' && point <= 'Z' ? point + 32 : point;
}

class Scanner {
 public:
  Scanner(std::string_view text, WordRules rules) : text_(text), rules_(rules) {}

  std::size_t word_end(std::size_t begin) const {
    const CodePoint first = code_point_at(text_, begin);
    if (first.value == '\'') {
      if (const std::size_t end = contraction_end(begin); end != begin) return end;
    }
    return rules_ == WordRules::gpt2 ? gpt2_end(begin, first) : llama_end(begin, first);
  }

 private:
  // 's 't 'm 'd 're 've 'll after the apostrophe at `begin`; `begin` if there is none.
  std::size_t contraction_end(std::size_t begin) const {
    std::size_t at = begin + 1;
    const char32_t first = contraction_letter(at);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at;
    const char32_t second = contraction_letter(at);
    const bool matches = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                         (first == 'l' && second == 'l');
    return matches ? at : begin;
  }

  char32_t contraction_letter(std::size_t& at) const {
    if (at == text_.size()) return 0;
    const CodePoint point = code_point_at(text_, at);
    at += point.size;
    return rules_ == WordRules::gpt2 ? point.value : folded(point.value);
  }

  std::size_t gpt2_end(std::size_t begin, CodePoint first) const {
    std::size_t start = begin;
    const bool more = begin + first.size < text_.size();
    if (first.value == ' ' && more && !has_class(begin + 1, char_class::kSpace)) ++start;
    if (has_class(start, char_class::kLetter)) return run_end(start, char_class::kLetter);
    if (has_class(start, char_class::kNumber)) return run_end(start, char_class::kNumber);
    if (has_class(start, char_class::kSpace)) return spaces_end(start);
    return others_end(start);
  }

  std::size_t llama_end(std::size_t begin, CodePoint first) const {
    const std::uint8_t classes = classes_of(first.value);
    const std::size_t next = begin + first.size;
    if (classes & char_class::kLetter) return run_end(next, char_class::kLetter);
    if (classes & char_class::kNumber) return digits_end(next);
    if (!is_newline(first.value) && has_class(next, char_class::kLetter)) {
      return run_end(next, char_class::kLetter);
    }
    if (!(classes & char_class::kSpace)) return newlines_end(others_end(begin));
    if (first.value == ' ' && next < text_.size() && !has_class(next, kNamed)) {
      return newlines_end(others_end(next));
    }
    return spaces_end(begin);
  }

  // Whether a character stands at `at` and has one of the classes.
  bool has_class(std::size_t at, std::uint8_t classes) const {
    return at < text_.size() && is_of_class(code_point_at(text_, at).value, classes);
  }

  std::size_t run_end(std::size_t at, std::uint8_t classes) const {
    while (at < text_.size()) {
      const CodePoint point = code_point_at(text_, at);
      if (!is_of_class(point.value, classes)) break;
      at += point.size;
    }
    return at;
  }

  std::size_t others_end(std::size_t at) const {
    while (at < text_.size()) {
      const CodePoint point = code_point_at(text_, at);
      if (is_of_class(point.value, kNamed)) break;
      at += point.size;
    }
    return at;
  }

  std::size_t newlines_end(std::size_t at) const {
    while (at < text_.size() && is_newline(static_cast<unsigned char>(text_[at]))) ++at;
    return at;
  }

  std::size_t digits_end(std::size_t at) const {  // after the first digit
    if (rules_ == WordRules::qwen2) return at;
    for (int more = 0; more < 2 && has_class(at, char_class::kNumber); ++more) {
      at += code_point_at(text_, at).size;
    }
    return at;
  }

  // \s*[\r\n]+ (not GPT-2), else \s+(?!\S), else \s+: up to the last newline of the run of spaces;
  // without one the whole run at the end of the text, else all but its last character.
  std::size_t spaces_end(std::size_t begin) const {
    std::size_t at = begin;
    std::size_t last = begin;
    std::size_t after_newline = begin;
    while (at < text_.size()) {
      const CodePoint point = code_point_at(text_, at);
      if (!is_of_class(point.value, char_class::kSpace)) break;
      last = at;
      at += point.size;
      if (is_newline(point.value)) after_newline = at;
    }
    if (rules_ != WordRules::gpt2 && after_newline != begin) return after_newline;
    return at == text_.size() || last == begin ? at : last;
  }

  std::string_view text_;
  WordRules rules_;
};

}  // namespace

std::optional<WordRules> rules_of(std::string_view pattern) {
  if (pattern == kGpt2Pattern) return WordRules::gpt2;
  if (pattern == kLlama3Pattern) return WordRules::llama3;
  if (pattern == kQwen2Pattern) return WordRules::qwen2;
  return std::nullopt;
}

std::vector<Span> scan_words(std::string_view text, WordRules rules) {
  const Scanner scanner(text, rules);
  std::vector<Span> words;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = scanner.word_end(begin);
    words.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
    begin = end;
  }
  return words;
}

}  // namespace lowbit
