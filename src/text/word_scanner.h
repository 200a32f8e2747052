// The three word patterns of byte-level BPE, scanned by hand in time linear in the text.
//
// Regular-expression engines backtrack over long runs of spaces and letters; these three patterns
// are those of nearly every checkpoint, so they get a scanner of their own. Each pattern matches
// every character of a text, so its matches lie side by side. A test compares with PCRE2.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace lowbit {

struct Span {  // bytes [begin, end) of some text
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool empty() const { return begin == end; }
};

enum class WordRules { gpt2, llama3, qwen2 };

extern const std::string_view kGpt2Pattern;
std::optional<WordRules> rules_of(std::string_view pattern);

std::vector<Span> scan_words(std::string_view text, WordRules rules);

}  // namespace lowbit
