#include "methods/range.h"

#include <gtest/gtest.h>

namespace lowbit {
namespace {

// Golden values of the rtn-and-granularity sheet: w = (-.9, -.2, .35, 1.1).
const Tensor kRow = at::tensor({-.9F, -.2F, .35F, 1.1F}).view({1, 4});

double squared_error(const GroupParameters& p, const WeightScheme& scheme) {
  return (fake_quant_weight(kRow, p, scheme) - kRow).square().sum().item<double>();
}

TEST(MinMaxRange, GoldenAsymmetric) {
  struct Case {
    int bits;
    double scale, zero, error;
  };
  for (const Case& c :
       {Case{2, .666667, 1, .249167}, Case{3, .285714, 3, .015153}, Case{4, .133333, 7, .009167}}) {
    const WeightScheme scheme{.bits = c.bits, .group_size = 4};
    const GroupParameters p = min_max_range(kRow, scheme);
    EXPECT_NEAR(p.scale.item<double>(), c.scale, 1e-6);
    EXPECT_EQ(p.zero.item<double>(), c.zero);
    EXPECT_NEAR(squared_error(p, scheme), c.error, 1e-6);
  }
}

TEST(MinMaxRange, GoldenSymmetric) {
  const WeightScheme scheme{.bits = 2, .group_size = 4, .symmetric = true};
  const GroupParameters p = min_max_range(kRow, scheme);
  EXPECT_NEAR(p.scale.item<double>(), .733333, 1e-6);
  EXPECT_EQ(p.zero.item<double>(), 2.0);
  EXPECT_NEAR(squared_error(p, scheme), .324722, 1e-6);
}

TEST(MseSearchRange, GoldenTwoBits) {
  const WeightScheme scheme{.bits = 2, .group_size = 4};
  EXPECT_NEAR(mse_search_range(kRow, scheme).scale.item<double>(), .593333, 1e-6);
}

TEST(SquaredErrorRange, LosesNoMoreThanTheFullRange) {
  for (const bool symmetric : {false, true}) {
    for (int bits = 2; bits <= 8; ++bits) {
      const WeightScheme scheme{.bits = bits, .group_size = 4, .symmetric = symmetric};
      const GroupParameters found = squared_error_range(kRow, scheme);
      EXPECT_LE(squared_error(found, scheme),
                squared_error(min_max_range(kRow, scheme), scheme) + 1e-7)
          << bits;
      if (symmetric) {
        EXPECT_EQ(found.zero.item<double>(), 1 << (bits - 1)) << "not stored, so not moved";
      }
    }
  }
  const WeightScheme two_bits{.bits = 2, .group_size = 4};
  EXPECT_LT(squared_error(squared_error_range(kRow, two_bits), two_bits), .2);
}

TEST(MinMaxRange, GroupsOfZerosAndOfOneSignStayExact) {
  const Tensor weight = at::tensor({0.F, 0.F, 0.F, 0.F, 1.F, 2.F, 3.F, 3.F}).view({1, 8});
  const WeightScheme scheme{.bits = 2, .group_size = 4};
  const Tensor back = fake_quant_weight(weight, min_max_range(weight, scheme), scheme);
  EXPECT_TRUE(at::allclose(back, weight));
}

}  // namespace
}  // namespace lowbit
