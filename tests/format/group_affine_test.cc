#include "format/group_affine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/half_float.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

const std::vector<float> kGolden = {-.9F, -.2F, .35F, 1.1F};

GroupAffineWeight quantize_row(const std::vector<float>& row, int bits, bool symmetric, float scale,
                               float zero, DType type = DType::f32) {
  return quantize_group_affine(row, 1, std::ssize(row), {bits, 0, symmetric}, std::vector{scale},
                               std::vector{zero}, type);
}

double squared_error(const GroupAffineWeight& weight, const std::vector<float>& original) {
  const std::vector<float> decoded = weight.dequantize();
  double sum = 0;
  for (std::size_t i = 0; i < original.size(); ++i) sum += std::pow(decoded[i] - original[i], 2);
  return sum;
}

TEST(GroupAffine, GoldenAsymmetric) {
  const float two_bit = 2.0F / 3.0F;
  EXPECT_THAT(quantize_row(kGolden, 2, false, two_bit, 1).codes, ElementsAre(0, 1, 2, 3));
  EXPECT_NEAR(squared_error(quantize_row(kGolden, 2, false, two_bit, 1), kGolden), .249167, 1e-6);
  const float three_bit = 2.0F / 7.0F;
  EXPECT_THAT(quantize_row(kGolden, 3, false, three_bit, 3).codes, ElementsAre(0, 2, 4, 7));
  EXPECT_NEAR(squared_error(quantize_row(kGolden, 3, false, three_bit, 3), kGolden), .015153, 1e-6);
  const float four_bit = 2.0F / 15.0F;
  EXPECT_THAT(quantize_row(kGolden, 4, false, four_bit, 7).codes, ElementsAre(0, 5, 10, 15));
  EXPECT_NEAR(squared_error(quantize_row(kGolden, 4, false, four_bit, 7), kGolden), .009167, 1e-6);
}

TEST(GroupAffine, GoldenSymmetric) {
  EXPECT_THAT(quantize_row(kGolden, 2, true, 2.2F / 3.0F, 0).codes, ElementsAre(1, 2, 2, 3));
  EXPECT_NEAR(squared_error(quantize_row(kGolden, 2, true, 2.2F / 3.0F, 0), kGolden), .324722,
              1e-6);
  EXPECT_THAT(quantize_row(kGolden, 3, true, 2.2F / 7.0F, 0).codes, ElementsAre(1, 3, 5, 7));
  EXPECT_NEAR(squared_error(quantize_row(kGolden, 3, true, 2.2F / 7.0F, 0), kGolden), .040867,
              1e-6);
}

TEST(GroupAffine, GoldenNegativeScaleOfTheFullRange) {
  // Codes count from the middle: (1, 0, -1, -2) + 2 and (3, 1, -1, -4) + 4.
  EXPECT_THAT(quantize_row(kGolden, 2, true, -.55F, 0).codes, ElementsAre(4 - 1, 2, 1, 0));
  EXPECT_NEAR(squared_error(quantize_row(kGolden, 2, true, -.55F, 0), kGolden), .2025, 1e-6);
  EXPECT_THAT(quantize_row(kGolden, 3, true, -.275F, 0).codes, ElementsAre(7, 5, 3, 0));
  EXPECT_NEAR(squared_error(quantize_row(kGolden, 3, true, -.275F, 0), kGolden), .016875, 1e-6);
}

TEST(GroupAffine, RoundsHalvesToEven) {
  const std::vector<float> halves = {-2.5F, -1.5F, -.5F, .5F, 1.5F, 2.5F};
  EXPECT_THAT(quantize_row(halves, 4, false, 1, 8).codes, ElementsAre(6, 6, 8, 8, 10, 10));
  EXPECT_THAT(quantize_row({0}, 4, false, 1, 6.5F).zeros, ElementsAre(6));
  EXPECT_THAT(quantize_row({0}, 4, false, 1, 7.5F).zeros, ElementsAre(8));
}

TEST(GroupAffine, ClampsCodesAndZeros) {
  EXPECT_THAT(quantize_row({-100, 100, 1e30F}, 3, false, 1, 2).codes, ElementsAre(0, 7, 7));
  EXPECT_THAT(quantize_row({0}, 3, false, 1, 12).zeros, ElementsAre(7));
  EXPECT_THAT(quantize_row({0}, 3, false, 1, -3).zeros, ElementsAre(0));
}

// The bf16 nearest to 0.1 is 0.10009766: at code 100 the two are a tenth of a code apart.
TEST(GroupAffine, CodesWithTheScaleThatIsStored) {
  const float stored = round_to_bf16(.1F);
  ASSERT_NE(stored, .1F);
  const float value = 100.5F * .1F + 1e-3F;  // code 101 with 0.1, 100 with what bf16 holds
  ASSERT_EQ(std::nearbyint(value / .1F), 101);
  ASSERT_EQ(std::nearbyint(value / stored), 100);
  const GroupAffineWeight weight = quantize_row({value}, 8, false, .1F, 0, DType::bf16);
  EXPECT_EQ(weight.scales[0], stored);
  EXPECT_EQ(weight.codes[0], 100);
}

TEST(GroupAffine, NeverStoresAZeroOrInfiniteScale) {
  for (const DType type : {DType::bf16, DType::f16, DType::f32}) {
    const float tiny = quantize_row({0, 0}, 4, false, 0, 7, type).scales[0];
    EXPECT_GT(tiny, 0);
    const float huge =
        quantize_row({1, 2}, 4, false, std::numeric_limits<float>::infinity(), 0, type).scales[0];
    EXPECT_TRUE(std::isfinite(huge));
  }
  EXPECT_EQ(quantize_row({1}, 4, false, 1e6F, 0, DType::f16).scales[0], 65504);
  EXPECT_EQ(quantize_row({1}, 4, true, -1e6F, 0, DType::f16).scales[0], -65504);
}

TEST(GroupAffine, QuantizingTheDecodedWeightGivesTheSameCodes) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> weight(8 * 64);
  for (float& value : weight) value = normal(random);
  const std::vector<float> scales(16, .21F);
  const std::vector<float> zeros(16, 6);
  const WeightScheme scheme{4, 32, false};
  const GroupAffineWeight once =
      quantize_group_affine(weight, 8, 64, scheme, scales, zeros, DType::bf16);
  const GroupAffineWeight twice =
      quantize_group_affine(once.dequantize(), 8, 64, scheme, once.scales, zeros, DType::bf16);
  EXPECT_EQ(once.codes, twice.codes);
  EXPECT_EQ(once.scales, twice.scales);
}

// The layer of checkpoints.md section 5: u = (3o + 5i) mod 16, two groups of four.
GroupAffineWeight worked_layer() {
  GroupAffineWeight weight;
  weight.out = 8;
  weight.in = 8;
  weight.group_size = 4;
  weight.scale_type = DType::bf16;
  for (int o = 0; o < 8; ++o) {
    for (int i = 0; i < 8; ++i) {
      weight.codes.push_back(static_cast<std::uint8_t>((3 * o + 5 * i) % 16));
    }
    weight.scales.push_back(.5F * static_cast<float>(o + 1));
    weight.scales.push_back(.25F);
    weight.zeros.push_back(static_cast<std::uint8_t>(o + 1));
    weight.zeros.push_back(static_cast<std::uint8_t>(15 - o));
  }
  return weight;
}

TEST(GroupAffine, WorkedLayerPacksZerosDownTheRows) {
  const PackedGroupAffine packed = pack(worked_layer());
  EXPECT_THAT(packed.weight_zero_point, ElementsAre(static_cast<std::int32_t>(0x87654321U),
                                                    static_cast<std::int32_t>(0x89ABCDEFU)));
  EXPECT_EQ(static_cast<std::uint32_t>(packed.weight_packed[0]), 0x3E94FA50U);
  EXPECT_EQ(static_cast<std::uint32_t>(packed.weight_packed[7]), 0x83E94FA5U);
  ASSERT_EQ(packed.weight_scale.size(), 32U);
  std::uint16_t first = 0;
  std::memcpy(&first, packed.weight_scale.data(), 2);
  EXPECT_EQ(first, float_to_bf16(.5F));
}

TEST(GroupAffine, WorkedLayerDecodes) {
  const std::vector<float> decoded = worked_layer().dequantize();
  const auto row = [&](std::size_t o) {
    return std::vector<float>(decoded.begin() + static_cast<std::ptrdiff_t>(8 * o),
                              decoded.begin() + static_cast<std::ptrdiff_t>(8 * o + 8));
  };
  EXPECT_THAT(row(0), ElementsAre(-.5F, 2, 4.5F, 7, -2.75F, -1.5F, -.25F, -3));
  EXPECT_THAT(row(1), ElementsAre(1, 6, 11, 0, -1.75F, -.5F, -3.25F, -2));
  EXPECT_THAT(row(7), ElementsAre(-12, 8, 28, -16, .25F, 1.5F, -1.25F, 0));
}

TEST(GroupAffine, SymmetricStoresNoZeros) {
  GroupAffineWeight weight = quantize_row(kGolden, 4, true, .2F, 0);
  EXPECT_THAT(weight.zeros, ElementsAre(8));
  EXPECT_TRUE(pack(weight).weight_zero_point.empty());
}

TEST(GroupAffine, CountsStoredBits) {
  GroupAffineWeight weight;
  weight.out = 128;
  weight.in = 256;
  weight.group_size = 32;
  const double values = 128 * 256;
  weight.bits = 3;
  EXPECT_DOUBLE_EQ((static_cast<double>(weight.stored_bits()) - 128) / values, 3 + 19.0 / 32);
  weight.symmetric = true;
  EXPECT_DOUBLE_EQ((static_cast<double>(weight.stored_bits()) - 128) / values, 3.5);
  weight.scale_type = DType::f32;
  EXPECT_DOUBLE_EQ((static_cast<double>(weight.stored_bits()) - 128) / values, 4);
}

TEST(Scheme, DescribesItself) {
  EXPECT_EQ(describe(WeightScheme{4, 128, false}), "W4 g128 asym");
  EXPECT_EQ(describe(WeightScheme{8, 0, true}), "W8 row sym");
  EXPECT_EQ(describe(WeightScheme{16, 128, false}), "W16");
  EXPECT_EQ(describe(ActivationScheme{}), "A16");
  EXPECT_EQ(describe(ActivationScheme{4, ActivationGranularity::token_group, 32, false}),
            "A4 g32 asym");
  EXPECT_EQ(describe(ActivationScheme{8, ActivationGranularity::token, 0, true}), "A8 token sym");
  EXPECT_EQ(describe(ActivationScheme{3, ActivationGranularity::token_group, 128, false, .8}),
            "A3 g128 asym clip 0.8");
}

TEST(Scheme, FindsTheLargestGroupThatFits) {
  EXPECT_EQ(fitting_group_size(384, 256), 192);
  EXPECT_EQ(fitting_group_size(384, 128), 128);
  EXPECT_EQ(fitting_group_size(896, 256), 224);
  EXPECT_EQ(fitting_group_size(64, 128), 64);
  EXPECT_EQ(fitting_group_size(4096, 0), 0);
  EXPECT_EQ(fitting_group_size(1009, 128), 0);  // a prime: one group
}

}  // namespace
}  // namespace lowbit
