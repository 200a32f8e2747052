#include "methods/range.h"

#include <gtest/gtest.h>

#include <cmath>

#include "format/value_grid.h"

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

// 0, 1, ... `most` in turns, the last values of the group replaced by 4.
Tensor with_outliers(std::int64_t values, int most, std::int64_t outliers) {
  Tensor row = at::arange(values).remainder(most + 1).to(at::kFloat);
  row.slice(0, values - outliers).fill_(4);
  return row.view({1, values});
}

TEST(PercentileRange, LeavesOutliersOutside) {
  const WeightScheme scheme{.bits = 2, .group_size = 0};
  // one of 200 places; ten of 10000, as published for whole tensors
  for (const auto& [values, outliers] : {std::pair{201, 1}, {10001, 10}}) {
    const GroupParameters p = percentile_range(with_outliers(values, 3, outliers), scheme);
    EXPECT_EQ(p.scale.item<double>(), 1) << values;
    EXPECT_EQ(p.zero.item<double>(), 0) << values;
  }
}

TEST(PercentileRange, LiesBetweenTwoValuesInProportion) {
  const WeightScheme scheme{.bits = 2, .group_size = 0};
  // 0.995 of 100 places: half way from 4 to 2, where 0, 1 and 2 are codes
  const GroupParameters p = percentile_range(with_outliers(101, 2, 1), scheme);
  EXPECT_NEAR(p.scale.item<double>(), 1, 1e-6);
}

TEST(PercentileRange, LosesNoMoreThanTheFullRangeAndKeepsZeroExact) {
  at::manual_seed(5);
  const Tensor normal = at::randn({16, 256});
  const Tensor weight = normal + normal.pow(3);
  for (const bool symmetric : {false, true}) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const std::int64_t group : {0, 8, 128}) {
        const WeightScheme scheme{.bits = bits, .group_size = group, .symmetric = symmetric};
        const auto error = [&](const GroupParameters& p) {
          return (fake_quant_weight(weight, p, scheme) - weight)
              .square()
              .view({16, p.scale.size(1), -1})
              .sum(2);
        };
        const GroupParameters found = percentile_range(weight, scheme);
        EXPECT_TRUE(error(found).le(error(min_max_range(weight, scheme))).all().item<bool>())
            << bits << " bits, groups of " << group;
        EXPECT_TRUE(found.zero.ge(0).logical_and(found.zero.lt(1 << bits)).all().item<bool>());
      }
    }
  }
}

// The mean of q - w / s, to which the zero point moves where errors are small.
Tensor next_zero(const Tensor& weight, const GroupParameters& p, const WeightScheme& scheme) {
  const Tensor steps = weight.view({p.scale.size(0), p.scale.size(1), -1}) / p.scale.unsqueeze(2);
  const Tensor code = (steps + p.zero.unsqueeze(2)).round().clamp(0, (1 << scheme.bits) - 1);
  return (code - steps).mean(2);
}

TEST(HqqRange, GoldenRealZeros) {
  struct Case {
    int bits;
    double scale, zero;
  };
  for (const Case& c :
       {Case{2, .6666667, 1.36875}, Case{3, .2857143, 2.94375}, Case{4, .1333333, 6.59375}}) {
    const WeightScheme scheme{.bits = c.bits, .group_size = 4};
    const GroupParameters p = real_zero_hqq(kRow, scheme);
    EXPECT_NEAR(p.scale.item<double>(), c.scale, 1e-6);
    EXPECT_NEAR(p.zero.item<double>(), c.zero, 1e-5);
    EXPECT_EQ(hqq_range(kRow, scheme).zero.item<double>(), std::round(c.zero));
  }
}

// By the formula in double precision; what is above 0.17 counts in part as an outlier.
TEST(HqqRange, GoldenZeroUnderOutliers) {
  const WeightScheme scheme{.bits = 2, .group_size = 4};
  EXPECT_NEAR(real_zero_hqq(kRow * 10, scheme).zero.item<double>(), 1.3480686, 1e-5);
}

TEST(HqqRange, EndsWhereTheMeanErrorOfMostGroupsIsZero) {
  at::manual_seed(6);
  const Tensor weight = at::randn({64, 256}) * .02;
  const WeightScheme scheme{.bits = 4, .group_size = 64};
  const GroupParameters p = real_zero_hqq(weight, scheme);
  const Tensor moves = (next_zero(weight, p, scheme) - p.zero).abs();
  EXPECT_LT(moves.median().item<double>(), 1e-5);
}

TEST(HqqRange, IsTheSameForScaledAndForPermutedRows) {
  at::manual_seed(7);
  const Tensor weight = at::randn({8, 128}) * .01;
  const WeightScheme scheme{.bits = 3, .group_size = 64};
  const GroupParameters p = hqq_range(weight, scheme);
  const GroupParameters half = hqq_range(weight * .5, scheme);
  EXPECT_TRUE(at::equal(half.zero, p.zero));
  EXPECT_TRUE(at::equal(half.scale, p.scale * .5));
  EXPECT_TRUE(at::equal(hqq_range(weight.flip(0).contiguous(), scheme).zero, p.zero.flip(0)));
}

TEST(HqqRange, ZeroIsACodeEvenWhereAllWeightsHaveOneSign) {
  const WeightScheme scheme{.bits = 2, .group_size = 4};
  for (const double sign : {1.0, -1.0}) {
    const Tensor weight = at::tensor({1.F, 1.1F, 1.2F, 1.3F}).view({1, 4}) * sign;
    const GroupParameters p = hqq_range(weight, scheme);
    EXPECT_EQ(p.zero.item<double>(), sign > 0 ? 0 : 3);
  }
}

TEST(HqqRange, OfSymmetricWeightsIsTheWholeRange) {
  const WeightScheme scheme{.bits = 3, .group_size = 4, .symmetric = true};
  EXPECT_TRUE(at::equal(hqq_range(kRow, scheme).scale, min_max_range(kRow, scheme).scale));
  EXPECT_EQ(hqq_range(kRow, scheme).zero.item<double>(), 4.0);
}

TEST(ChooseRange, OfALargeWeightIsThatOfItsRows) {
  at::manual_seed(8);
  const Tensor weight = at::randn({72, 16384});  // more than one run
  const WeightScheme scheme{.bits = 4, .group_size = 128};
  for (const RangeMethod method : {RangeMethod::percentile, RangeMethod::hqq}) {
    const GroupParameters p = choose_range(method, weight, scheme, {});
    const GroupParameters last = choose_range(method, weight.slice(0, 70), scheme, {});
    EXPECT_TRUE(at::equal(p.scale.slice(0, 70), last.scale));
    EXPECT_TRUE(at::equal(p.zero.slice(0, 70), last.zero));
  }
}

double mean_error(const Tensor& weight, const GroupParameters& p, const WeightScheme& scheme) {
  return (fake_quant_weight(weight, p, scheme) - weight).square().mean().item<double>();
}

TEST(ValueRange, ScalesLieOnTheGridOfTheFormatAndMeetTheLargestValue) {
  at::manual_seed(9);
  const Tensor weight = at::randn({8, 256});
  for (const ValueFormat& format : value_formats()) {
    SCOPED_TRACE(format.name);
    const GroupParameters p = choose_range(RangeMethod::min_max, weight, format.scheme, {});
    const DType type = format.scale_type == DType::bf16 ? DType::f32 : format.scale_type;
    const ScaleGrid grid(type, p.global_scale);
    const float* scale = p.scale.data_ptr<float>();
    for (std::int64_t i = 0; i < p.scale.numel(); ++i) EXPECT_EQ(grid.nearest(scale[i]), scale[i]);
    const Tensor reach = weight.view({8, p.scale.size(1), -1}).abs().amax(2);
    const Tensor codes = reach / p.scale / format.grid().largest();
    const bool powers = type == DType::u8;
    EXPECT_GE(codes.min().item<double>(), powers ? 0.5 : 0.94);
    EXPECT_LE(codes.max().item<double>(), powers ? 2.0 : 1.07);
  }
}

TEST(ValueRange, OfPowersOfTwoTakesTheBetterOfTheRules) {
  at::manual_seed(10);
  const Tensor weight = at::randn({64, 1024});
  const WeightScheme& scheme = value_format(WeightFormat::mxfp4)->scheme;
  const GroupParameters p = choose_range(RangeMethod::min_max, weight, scheme, {});
  const Tensor reach = weight.view({64, 32, 32}).abs().amax(2);
  const Tensor low = reach / std::get<0>(at::frexp(reach)) / 8;  // the floor rule: reach / low >= 4
  for (const double from : {8.0, 7.0, 6.0}) {  // floor, compressed-tensors, ceiling
    GroupParameters rule = p;
    rule.scale = at::where((reach / low).gt(from), 2 * low, low);
    EXPECT_LT(mean_error(weight, p, scheme), 0.999 * mean_error(weight, rule, scheme)) << from;
  }
  const GroupParameters scaled = choose_range(RangeMethod::min_max, weight * 0.125, scheme, {});
  EXPECT_TRUE(at::equal(scaled.scale, p.scale * 0.125));
}

TEST(ValueRange, ASearchLosesLessAndGoesByTheImportance) {
  at::manual_seed(11);
  const Tensor weight = at::randn({16, 512});
  const Tensor importance = at::rand({512}).pow(4);
  const auto weighted = [&](const GroupParameters& p, const WeightScheme& scheme) {
    const Tensor error = fake_quant_weight(weight, p, scheme) - weight;
    return (error.square() * importance).mean().item<double>();
  };
  for (const ValueFormat& format : value_formats()) {
    SCOPED_TRACE(format.name);
    const auto by = [&](RangeMethod method) {
      return choose_range(method, weight, format.scheme, importance);
    };
    const GroupParameters full = by(RangeMethod::min_max), plain = by(RangeMethod::mse_search),
                          searched = by(RangeMethod::importance_search);
    EXPECT_LE(mean_error(weight, plain, format.scheme), mean_error(weight, full, format.scheme));
    EXPECT_LT(weighted(searched, format.scheme), weighted(plain, format.scheme));
  }
  // Four Over Six alone: 0.00756 (float-formats sheet).
  const WeightScheme& nvfp4 = value_format(WeightFormat::nvfp4)->scheme;
  const Tensor much = at::randn({64, 1024});
  EXPECT_LT(mean_error(much, choose_range(RangeMethod::mse_search, much, nvfp4, {}), nvfp4),
            .00756);
}

TEST(ValueRange, GroupsOfZerosStayZero) {
  for (const ValueFormat& format : value_formats()) {
    const Tensor weight = at::zeros({2, 128});
    const GroupParameters p = choose_range(RangeMethod::mse_search, weight, format.scheme, {});
    EXPECT_TRUE(at::equal(fake_quant_weight(weight, p, format.scheme), weight));
    EXPECT_TRUE(p.scale.gt(0).all().item<bool>());
  }
}

TEST(MinMaxRange, GroupsOfZerosAndOfOneSignStayExact) {
  const Tensor weight = at::tensor({0.F, 0.F, 0.F, 0.F, 1.F, 2.F, 3.F, 3.F}).view({1, 8});
  const WeightScheme scheme{.bits = 2, .group_size = 4};
  const Tensor back = fake_quant_weight(weight, min_max_range(weight, scheme), scheme);
  EXPECT_TRUE(at::allclose(back, weight));
}

}  // namespace
}  // namespace lowbit
