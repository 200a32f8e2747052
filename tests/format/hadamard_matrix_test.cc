// Every factor is a Hadamard matrix, the sizes of known models have one, and no matrix changes:
// checkpoints hold weights that were multiplied by them.
#include "format/hadamard_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bitset>
#include <cstdlib>

namespace lowbit {
namespace {

std::vector<std::int64_t> all_factors() {
  std::vector<std::int64_t> factors;
  for (std::int64_t n = 1; n <= kLargestHadamardFactor; ++n) {
    if (hadamard_factor(n) == n) factors.push_back(n);
  }
  return factors;
}

TEST(HadamardMatrix, EveryFactorTimesItsTransposeIsDiagonal) {
  const std::vector<std::int64_t> factors = all_factors();
  EXPECT_THAT(factors, testing::IsSupersetOf({1,   12,  20,  28,  36,  44,  52,  60,  68,  76, 100,
                                              108, 116, 124, 140, 148, 156, 172, 284, 684, 924}));
  for (const std::int64_t n : factors) {
    const std::vector<std::int8_t> h = hadamard_factor_matrix(n);
    ASSERT_EQ(std::ssize(h), n * n);
    std::vector<std::bitset<kLargestHadamardFactor>> minus(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < h.size(); ++i) {
      ASSERT_EQ(std::abs(h[i]), 1) << n;
      minus[i / minus.size()][i % minus.size()] = h[i] < 0;
    }
    for (std::size_t i = 0; i < minus.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        ASSERT_EQ(2 * (minus[i] ^ minus[j]).count(), minus.size())
            << n << ": rows " << i << " and " << j;
      }
    }
  }
}

// FNV-1a over the entries of all factors that models use.
TEST(HadamardMatrix, NeverChanges) {
  std::uint64_t sum = 0xCBF29CE484222325U;
  for (const std::int64_t n : {12, 20, 28, 36, 44, 52, 68, 76, 100, 108, 140, 148, 172, 924}) {
    for (const std::int8_t entry : hadamard_factor_matrix(n)) {
      sum = (sum ^ static_cast<std::uint8_t>(entry)) * 0x100000001B3U;
    }
  }
  EXPECT_EQ(sum, 13107071642328286949U);
}

TEST(HadamardMatrix, KnownModelsHaveOneOfTheirWholeWidth) {
  struct Known {
    std::int64_t width, factor;
  };
  for (const Known& known : std::initializer_list<Known>{
           {4096, 1},  {11008, 172}, {13824, 108}, {5120, 20},   {28672, 28},  {14336, 28},
           {6656, 52}, {17920, 140}, {22016, 172}, {18944, 148}, {3584, 28},   {8960, 140},
           {4864, 76}, {896, 28},    {1536, 12},   {29568, 924}, {27648, 108}, {9728, 76},
           {2560, 20}, {17408, 68},  {25600, 100}, {5632, 44},   {576, 36},    {9216, 36}}) {
    EXPECT_EQ(hadamard_factor(known.width), known.factor) << known.width;
    EXPECT_EQ(hadamard_size(known.width), known.width);
  }
}

TEST(HadamardMatrix, OtherWidthsGetTheLargestBlock) {
  EXPECT_EQ(hadamard_factor(13696), 0);
  EXPECT_EQ(hadamard_size(13696), 128);  // 107 * 128
  EXPECT_EQ(hadamard_size(3 * 13696), 12 * 32);
  EXPECT_EQ(hadamard_size(7), 1);
  EXPECT_EQ(hadamard_size(6), 2);
  EXPECT_EQ(hadamard_factor(0), 0);
  EXPECT_EQ(hadamard_factor(-4), 0);
  EXPECT_EQ(hadamard_factor(188), 0);
}

}  // namespace
}  // namespace lowbit
