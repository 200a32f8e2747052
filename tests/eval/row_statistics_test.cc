#include "eval/row_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace lowbit {
namespace {

std::vector<float> random_row(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 4.0F);
  std::vector<float> row(size);
  for (float& value : row) value = normal(random);
  return row;
}

double exact_log_sum_exp(const std::vector<float>& row) {
  long double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<long double>(x));
  return static_cast<double>(std::log(sum));
}

// Widths around the vector length and the run length, so that every tail is met.
constexpr std::size_t kWidths[] = {1, 2, 15, 16, 17, 100, 255, 256, 257, 1000};

TEST(LogSumExp, EqualsTheExactSum) {
  for (const std::size_t width : kWidths) {
    const auto row = random_row(width, 1);
    EXPECT_NEAR(log_sum_exp(row), exact_log_sum_exp(row), 1e-6) << width;
  }
}

TEST(LogSumExp, BearsLargeLogits) {
  const std::vector<float> row(300, 3e38F);
  EXPECT_FLOAT_EQ(static_cast<float>(log_sum_exp(row)), 3e38F);
}

TEST(LogSumExp, PassesOnWhatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    std::vector<float> row = random_row(40, 2);
    row[37] = bad;
    EXPECT_FALSE(std::isfinite(log_sum_exp(row)));
  }
}

TEST(KlDivergence, EqualsTheExactSum) {
  for (const std::size_t width : kWidths) {
    const auto p = random_row(width, 3);
    const auto q = random_row(width, 4);
    const double p_sum = exact_log_sum_exp(p);
    const double q_sum = exact_log_sum_exp(q);
    double expected = 0;
    for (std::size_t i = 0; i < width; ++i) {
      const double log_p = p[i] - p_sum;
      expected += std::exp(log_p) * (log_p - (q[i] - q_sum));
    }
    EXPECT_NEAR(kl_divergence(p, log_sum_exp(p), q, log_sum_exp(q)), expected, 2e-6) << width;
  }
}

TEST(KlDivergence, IsExactlyZeroForEqualRows) {
  const auto row = random_row(777, 5);
  const double sum = log_sum_exp(row);
  EXPECT_EQ(kl_divergence(row, sum, row, sum), 0.0);
}

TEST(LargestIndex, TakesTheFirstOfSeveral) {
  EXPECT_EQ(largest_index(std::vector<float>{1, 5, 5, 2}), 1);
}

}  // namespace
}  // namespace lowbit
