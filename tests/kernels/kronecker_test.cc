// The product by factors against the dense one, and how a row is split.
#include "kernels/kronecker.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/threads.h"
#include "support/normal_values.h"

namespace lowbit {
namespace {

KroneckerFactors random_factors(KroneckerSize size) {
  return {.size = size,
          .left = normal_values(size.left * size.left, 1),
          .right = normal_values(size.right * size.right, 2)};
}

TEST(Kronecker, IsTheDenseProduct) {
  for (const KroneckerSize size : {KroneckerSize{2, 3}, {16, 32}, {48, 32}, {5, 20}, {12, 7}}) {
    const KroneckerFactors factors = random_factors(size);
    std::vector<float> fast = normal_values(3 * size.left * size.right, 3);
    std::vector<float> dense = fast;
    kronecker_rows(fast, factors);
    kronecker_rows_reference(dense, factors);
    for (std::size_t i = 0; i < fast.size(); ++i) {
      ASSERT_NEAR(fast[i], dense[i], 1e-3) << size.left << " x " << size.right << ", value " << i;
    }
  }
}

TEST(Kronecker, GivesTheSameBitsForEveryNumberOfThreadsAndRows) {
  const KroneckerFactors factors = random_factors({16, 32});
  const std::vector<float> x = normal_values(100 * 512, 4);
  std::vector<float> together = x, one_by_one = x;
  kronecker_rows(together, factors);
  for (std::size_t at = 0; at < x.size(); at += 512) {
    kronecker_rows(std::span(one_by_one).subspan(at, 512), factors);
  }
  EXPECT_EQ(together, one_by_one);
  const int before = thread_count();
  set_thread_count(1);
  std::vector<float> alone = x;
  kronecker_rows(alone, factors);
  set_thread_count(before);
  EXPECT_EQ(together, alone);
}

TEST(Kronecker, SplitsARowIntoFactorsWithHadamardMatrices) {
  EXPECT_EQ(kronecker_size(512), (KroneckerSize{16, 32}));
  EXPECT_EQ(kronecker_size(1536), (KroneckerSize{48, 32}));
  EXPECT_EQ(kronecker_size(4096), (KroneckerSize{64, 64}));
  EXPECT_EQ(kronecker_size(14336), (KroneckerSize{112, 128}));
  EXPECT_EQ(kronecker_size(11008), (KroneckerSize{172, 64}));   // 86 x 128 are nearer
  EXPECT_EQ(kronecker_size(13696), (KroneckerSize{107, 128}));  // no split has both
  EXPECT_FALSE(kronecker_size(107).any());
}

TEST(Kronecker, BeginsAtHadamardMatrices) {
  for (const std::int64_t in : {512, 1536, 13696}) {
    const auto factors = hadamard_factors(kronecker_size(in));
    std::vector<float> x = normal_values(in, 5);
    const auto power = [&] {
      double sum = 0;
      for (const float value : x) sum += double{value} * value;
      return sum;
    };
    const double before = power();
    kronecker_rows(x, *factors);
    EXPECT_NEAR(power() / before, 1, 2e-3) << in;  // float16 of 1 / sqrt(n)
  }
}

}  // namespace
}  // namespace lowbit
