#include "text/pattern.h"

#include <gtest/gtest.h>

#include "text/pattern_syntax.h"

namespace lowbit {
namespace {

std::string marked(const Pattern& pattern, std::string_view text) {
  MatchBudget budget;
  return pattern.replaced(text, "|", 1 << 20, budget).value();
}
std::string marked(const std::string& source, std::string_view text) {
  return marked(Pattern::regex(source).value(), text);
}
std::string code_of(const std::string& source) {
  const auto pattern = Pattern::regex(source);
  return pattern.ok() ? "" : pattern.error().code;
}

TEST(Pattern, ReadsOnigurumasSyntax) {
  EXPECT_EQ(marked(R"(\h+)", "xyz09afg"), "xyz|g") << "a hexadecimal digit, not a blank";
  EXPECT_EQ(marked(R"([\h])", "f-"), "|-");
  EXPECT_EQ(marked("^a", "a\na"), "|\n|") << "^ matches at every line";
  EXPECT_EQ(marked("(?m:a.)", "a\n"), "|") << "m lets the dot match a newline";
  EXPECT_EQ(marked("a.", "a\n"), "a\n");
  EXPECT_EQ(marked(R"(\w+)", "e\u0301_\u203F \u00BD\u00BE."), "| |.") << "marks and connectors";
  EXPECT_EQ(marked(R"(\s)", "\u180E\u3000"), "\u180E|");
  EXPECT_EQ(marked(R"([\s])", "\u180E\u0085"), "\u180E|");
  EXPECT_EQ(marked(R"(\u00e9)", "e\u00E9"), "e|");
  EXPECT_EQ(marked("[[:alpha:]]+|[a:]]", "ab1:]"), "|1|");
  EXPECT_EQ(marked("[]a]", "]ab"), "||b");
}

TEST(Pattern, RefusesWhatWouldMeanSomethingElse) {
  for (const char* source :
       {"[a&&b]", "[a[bc]]", R"([\W])", R"(\Qa\E)", "(*UTF)a", R"(\g<1>(a))"}) {
    EXPECT_EQ(code_of(source), "tokenizer/unsupported") << source;
  }
}

TEST(Pattern, RefusesBrokenAndOversizedPatterns) {
  for (const std::string source : {"(", "[a", "a{2,1}", R"(\p{Nonsense})", "(?P<", "\\", R"(\C)"}) {
    EXPECT_EQ(code_of(source), "tokenizer/bad-pattern") << source;
  }
  EXPECT_EQ(code_of(std::string(1 << 20, 'a')), "tokenizer/bad-pattern");
  EXPECT_EQ(code_of(std::string(10000, '(') + std::string(10000, ')')), "tokenizer/bad-pattern");
}

TEST(Pattern, CountsNoEmptyMatchBehindAMatch) {
  EXPECT_EQ(marked("x*", "axb"), "|a|b|");
  EXPECT_EQ(marked("", "\u00E9"), "|\u00E9|") << "between characters, not bytes";
}

TEST(Pattern, FindsLiteralsAsTheyAre) {
  EXPECT_EQ(marked(Pattern::literal("a.c"), "abca.ca.c"), "abc||");
  EXPECT_EQ(marked(Pattern::literal(""), "ab"), "ab");
}

TEST(Pattern, GivesUpOnBacktrackingThatExplodes) {
  for (const char* source : {"(a|aa)+b", "(a*)*b", "(?:a+a+)+b"}) {
    MatchBudget budget;
    const auto spans =
        Pattern::regex(source).value().matches(std::string(5000, 'a') + "cb", budget);
    ASSERT_FALSE(spans.ok()) << source;
    EXPECT_EQ(spans.error().code, "tokenizer/bad-pattern");
  }
}

TEST(Pattern, LimitsWhatReplacingMakes) {
  MatchBudget budget;
  const auto grown = Pattern::literal("a").replaced("aaaa", "12345", 10, budget);
  ASSERT_FALSE(grown.ok());
  EXPECT_EQ(grown.error().code, "tokenizer/unsupported");
}

TEST(Pattern, MatchesFarFromTheStart) {
  EXPECT_EQ(marked("b", std::string(1000, 'a') + "b"), std::string(1000, 'a') + "|");
}

}  // namespace
}  // namespace lowbit
