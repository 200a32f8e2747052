// Outlier channels of activations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/activation_outliers.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Outliers, AreTheLargestChannelsNextToTheMedian) {
  const Outliers outliers = outliers_of({{"x"}, {1, 2, 50, 2, 3, 0, 2}});
  EXPECT_EQ(outliers.largest, 50);
  EXPECT_EQ(outliers.median, 2);
  EXPECT_EQ(outliers.ratio, 25);
  EXPECT_THAT(outliers.channels, ElementsAre(2, 4, 1, 3, 6));
}

TEST(Outliers, HaveNoRatioWhenTheMedianIsZero) {
  EXPECT_EQ(outliers_of({{"x"}, {0, 0, 9}}).ratio, 0);
  EXPECT_EQ(outliers_of({{"x"}, {}}).largest, 0);
}

TEST(Outliers, NameAllLinearsThatShareAnInput) {
  const std::string table = outliers_table({{{"m.0.q_proj", "m.0.k_proj"}, {1, 2, 3}}});
  EXPECT_THAT(table, HasSubstr("m.0.q_proj k_proj"));
}

}  // namespace
}  // namespace lowbit
