// The fast transform against the dense matrix in double precision.
#include "kernels/hadamard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "base/threads.h"
#include "support/normal_values.h"

namespace lowbit {
namespace {

// H_n[row, column]: Sylvester's entry is the parity of the common bits.
double entry(const std::vector<std::int8_t>& factor, std::int64_t width, std::int64_t row,
             std::int64_t column) {
  const std::int64_t order = std::llround(std::sqrt(static_cast<double>(factor.size())));
  const int outer = factor[static_cast<std::size_t>(row / width * order + column / width)];
  const auto common = static_cast<std::uint64_t>(row % width & column % width);
  return std::popcount(common) % 2 == 0 ? outer : -outer;
}

// Some columns of x H / sqrt(n), or of x Hᵀ / sqrt(n), of one block.
void expect_dense(std::int64_t n, std::span<const float> x, std::span<const float> fast,
                  bool transposed) {
  const std::vector<std::int8_t> factor = hadamard_factor_matrix(hadamard_factor(n));
  const std::int64_t width = n / hadamard_factor(n);
  const std::int64_t stride = std::max<std::int64_t>(1, n / 97);
  for (std::int64_t column = 0; column < n; column += stride) {
    double sum = 0;
    for (std::int64_t row = 0; row < n; ++row) {
      sum += x[static_cast<std::size_t>(row)] *
             (transposed ? entry(factor, width, column, row) : entry(factor, width, row, column));
    }
    ASSERT_NEAR(fast[static_cast<std::size_t>(column)], sum / std::sqrt(static_cast<double>(n)),
                2e-5)
        << n << ", column " << column;
  }
}

constexpr std::int64_t kSizes[] = {
    1,   2,    4,     8,     16,   32,    64,    512,   4096,  12,    24,    48,   96,   20,
    40,  156,  11008, 13824, 5120, 28672, 14336, 6656,  17920, 22016, 18944, 3584, 8960, 4864,
    896, 1536, 29568, 27648, 9728, 2560,  17408, 25600, 5632,  576,   9216,  232,  16384};

TEST(Hadamard, IsTheDenseProductKeepsTheNormAndHasAnInverse) {
  for (const std::int64_t n : kSizes) {
    const std::vector<float> x = normal_values(3 * n, 11);
    std::vector<float> turned = x, back = x;
    hadamard_rows(turned, n);
    hadamard_rows_transposed(back, n);
    const std::size_t at = static_cast<std::size_t>(2 * n), count = static_cast<std::size_t>(n);
    expect_dense(n, std::span(x).subspan(at, count), std::span(turned).subspan(at, count), false);
    expect_dense(n, std::span(x).subspan(at, count), std::span(back).subspan(at, count), true);
    double before = 0, after = 0;
    for (const float value : x) before += double{value} * value;
    for (const float value : turned) after += double{value} * value;
    EXPECT_NEAR(after / before, 1.0, 1e-6) << n;
    hadamard_rows_transposed(turned, n);
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(turned[i], x[i], 2e-5) << n;
  }
}

TEST(Hadamard, IsTheSameForEveryNumberOfThreadsAndRows) {
  constexpr std::int64_t kRows = 40, kWidth = 1536;
  const int threads = thread_count();
  const std::vector<float> x = normal_values(kRows * kWidth, 11);
  std::vector<float> together = x, alone = x;
  set_thread_count(3);
  hadamard_rows(together, kWidth);
  set_thread_count(1);
  for (std::int64_t row = 0; row < kRows; ++row) {
    hadamard_rows(std::span(alone).subspan(static_cast<std::size_t>(row * kWidth), kWidth), kWidth);
  }
  set_thread_count(threads);
  EXPECT_EQ(together, alone);
}

TEST(Hadamard, SpreadsOneLargeValueOverItsBlock) {
  std::vector<float> x(2 * 172);
  x[5] = 13.0F;
  hadamard_rows(x, 172);
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_FLOAT_EQ(std::abs(x[i]), i < 172 ? 13.0F / std::sqrt(172.0F) : 0.0F);
  }
}

}  // namespace
}  // namespace lowbit
