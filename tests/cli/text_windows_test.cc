// What --calib and --text mean, and how a text is cut.
#include "cli/text_windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace lowbit {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<TokenId> counted(std::size_t count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

TEST(TextChoice, IsAFileOrTheModelItself) {
  EXPECT_EQ(parse_text_choice("a.txt")->file, "a.txt");
  EXPECT_FALSE(parse_text_choice("a.txt")->sampled());
  EXPECT_TRUE(parse_text_choice("self")->sampled());
  EXPECT_EQ(parse_text_choice("self")->self_seed, std::nullopt);
  EXPECT_EQ(parse_text_choice("self:7")->self_seed, 7U);
  EXPECT_EQ(parse_text_choice("./self")->file, "./self");
  EXPECT_EQ(parse_text_choice("self.txt")->file, "self.txt");
}

TEST(TextChoice, RefusesASeedThatIsNoNumber) {
  for (const char* argument :
       {"self:", "self:x", "self:-1", "self:1x", "self:99999999999999999999"}) {
    const auto choice = parse_text_choice(argument);
    ASSERT_FALSE(choice.ok()) << argument;
    EXPECT_EQ(choice.error().code, "text/bad-seed");
    EXPECT_EQ(choice.error().kind, ErrorKind::usage);
  }
}

TEST(CalibrationText, TakesTrainingFirstAndValidationAfter) {
  const auto text =
      cut_calibration(counted(11), {.windows = 2, .length = 3, .validation_windows = 1}, "t");
  ASSERT_TRUE(text.ok());
  EXPECT_THAT(text->windows.train, ElementsAre(ElementsAre(0, 1, 2), ElementsAre(3, 4, 5)));
  EXPECT_THAT(text->windows.validation, ElementsAre(ElementsAre(6, 7, 8)));
  EXPECT_THAT(text->notices, ElementsAre());
}

TEST(CalibrationText, TakesFewerValidationWindowsAndSaysSo) {
  const auto text =
      cut_calibration(counted(11), {.windows = 2, .length = 3, .validation_windows = 5}, "t");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->windows.validation.size(), 1U);
  EXPECT_THAT(text->notices, ElementsAre(AllOf(HasSubstr("1 validation"), HasSubstr("5 asked"))));
}

TEST(CalibrationText, RefusesATextThatIsTooShortWithBothCounts) {
  const auto text =
      cut_calibration(counted(11), {.windows = 4, .length = 3, .validation_windows = 0}, "t");
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().code, "text/too-short");
  EXPECT_THAT(text.error().message,
              AllOf(HasSubstr("t: 11 tokens"), HasSubstr("4 windows (12 tokens)")));
}

TEST(CalibrationText, NeedsNoTokenMoreThanTheWindowsHave) {
  EXPECT_TRUE(
      cut_calibration(counted(12), {.windows = 4, .length = 3, .validation_windows = 0}, "t").ok());
}

}  // namespace
}  // namespace lowbit
