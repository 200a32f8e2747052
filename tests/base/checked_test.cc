#include "base/checked.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace lowbit {
namespace {

constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();

TEST(CheckedArithmetic, GivesWhatFits) {
  EXPECT_EQ(checked_add<std::uint64_t>(kMost - 1, 1), kMost);
  EXPECT_EQ(checked_mul<std::uint64_t>(kMost / 5, 5), kMost);
}

TEST(CheckedArithmetic, GivesNothingForWhatDoesNot) {
  EXPECT_FALSE(checked_add<std::uint64_t>(kMost, 1));
  EXPECT_FALSE(checked_mul<std::uint64_t>(std::uint64_t{1} << 32, std::uint64_t{1} << 32));
  EXPECT_FALSE(checked_mul<std::int64_t>(std::numeric_limits<std::int64_t>::min(), -1));
}

}  // namespace
}  // namespace lowbit
