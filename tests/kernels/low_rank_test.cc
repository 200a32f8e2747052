// The product with a low-rank pair against its definition.
#include "kernels/low_rank.h"

#include <gtest/gtest.h>

#include "base/threads.h"
#include "support/normal_values.h"

namespace lowbit {
namespace {

LowRankPair random_pair(std::int64_t out, std::int64_t in, std::int64_t rank) {
  return {.left = normal_values(out * rank, 1), .right = normal_values(rank * in, 2)};
}

TEST(LowRank, AddsTheTwoProducts) {
  struct Shape {
    std::int64_t out, in, rank, tokens;
  };
  for (const auto& [out, in, rank, tokens] : std::vector<Shape>{
           {1, 1, 1, 1}, {16, 8, 3, 7}, {40, 33, 16, 5}, {12, 50, 12, 2}, {512, 96, 17, 20}}) {
    const LowRankPair pair = random_pair(out, in, rank);
    const std::vector<float> x = normal_values(tokens * in, 3);
    std::vector<float> fast = normal_values(tokens * out, 4);
    std::vector<float> expected = fast;
    LowRankProduct(pair, rank).add(x, fast);
    add_low_rank_reference(x, pair, rank, expected);
    for (std::size_t i = 0; i < fast.size(); ++i) {
      ASSERT_NEAR(fast[i], expected[i], 1e-3) << out << " x " << in << ", value " << i;
    }
  }
}

TEST(LowRank, GivesTheSameBitsForEveryNumberOfThreadsAndTokens) {
  constexpr std::int64_t kOut = 1000, kIn = 512, kTokens = 100;
  const LowRankProduct product(random_pair(kOut, kIn, 20), 20);
  const std::vector<float> x = normal_values(kTokens * kIn, 5);
  const std::vector<float> start = normal_values(kTokens * kOut, 6);
  std::vector<float> together = start, one_by_one = start, alone = start;
  product.add(x, together);
  for (std::size_t token = 0; token < kTokens; ++token) {
    product.add(std::span(x).subspan(token * kIn, kIn),
                std::span(one_by_one).subspan(token * kOut, kOut));
  }
  EXPECT_EQ(together, one_by_one);
  const int before = thread_count();
  set_thread_count(1);
  product.add(x, alone);
  set_thread_count(before);
  EXPECT_EQ(together, alone);
}

}  // namespace
}  // namespace lowbit
