#include "text/word_scanner.h"

#include <gtest/gtest.h>

#include <random>

#include "text/pattern.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Characters that every Unicode version classes alike, dense where the patterns decide.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> kParts = {
      " ",  "  ",     "\n", "\r", "\t", "\u00A0", "\u3000", "'",      "s", "S",  "\u017F",
      "t",  "re",     "VE", "ll", "D",  "m",      "a",      "Z",      "é", "日", "1",
      "23", "\u0663", "½",  "Ⅷ",  ".",  "-",      "$",      "\u0301", "😀", "_",  "\u200B"};
  std::string text;
  const auto count = std::uniform_int_distribution<int>(0, 25)(random);
  for (int i = 0; i < count; ++i) {
    text += kParts[std::uniform_int_distribution<std::size_t>(0, kParts.size() - 1)(random)];
  }
  return text;
}

class WordScanner : public ::testing::TestWithParam<std::string> {};

TEST_P(WordScanner, CutsAsTheRegularExpressionDoes) {
  ASSERT_TRUE(rules_of(GetParam()).has_value());
  const Pattern expression = Pattern::regex(GetParam(), PatternEngine::pcre2).value();
  std::mt19937 random(20240501);
  MatchBudget budget;
  for (int round = 0; round < 5000; ++round) {
    const std::string text = random_text(random);
    std::string scanned;
    for (const Span& span : scan_words(text, *rules_of(GetParam()))) {
      scanned += text.substr(span.begin, span.end - span.begin) + "|";
    }
    std::string matched;
    for (const Span& span : expression.matches(text, budget).value()) {
      matched += text.substr(span.begin, span.end - span.begin) + "|";
    }
    ASSERT_EQ(scanned, matched);
  }
}

std::string name_of(const ::testing::TestParamInfo<std::string>& rules) {
  const std::vector<std::string> names = {"Gpt2", "Llama3", "Qwen2"};
  return names[rules.index];
}

INSTANTIATE_TEST_SUITE_P(Rules, WordScanner,
                         ::testing::Values(std::string(kGpt2Pattern), kLlama3, kQwen2), name_of);

TEST(WordScanner, KnowsNoOtherPattern) { EXPECT_FALSE(rules_of(R"(\s+)").has_value()); }

}  // namespace
}  // namespace lowbit
