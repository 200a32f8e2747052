#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/threads.h"
#include "format/group_affine.h"
#include "support/normal_values.h"

namespace lowbit {
namespace {

using testing::Each;
using testing::ElementsAre;

constexpr auto kTokenGroup = ActivationGranularity::token_group;

GroupAffineWeight random_weight(std::int64_t out, std::int64_t in, int bits, std::int64_t group,
                                unsigned seed) {
  const std::vector<float> values = normal_values(out * in, seed);
  const auto count = static_cast<std::size_t>(out * (in / group));
  return quantize_group_affine(values, out, in, {bits, group, false}, std::vector(count, .17F),
                               std::vector(count, static_cast<float>(1 << (bits - 1)) - 1),
                               DType::bf16);
}

// The definition, one value at a time.
std::vector<float> defined_product(const QuantizedActivations& x, const GroupAffineWeight& w) {
  const std::int64_t segment = std::gcd(x.group_size, w.group_size);
  std::vector<float> y;
  for (std::int64_t t = 0; t < x.tokens; ++t) {
    for (std::int64_t o = 0; o < w.out; ++o) {
      float sum = 0;
      for (std::int64_t begin = 0; begin < w.in; begin += segment) {
        std::int64_t exact = 0;
        const auto group = static_cast<std::size_t>(o * w.groups() + begin / w.group_size);
        for (std::int64_t i = begin; i < begin + segment; ++i) {
          exact += (w.codes[static_cast<std::size_t>(o * w.in + i)] - w.zeros[group]) *
                   std::int64_t{x.centered[static_cast<std::size_t>(t * x.in + i)]};
        }
        const float x_scale =
            x.scales[static_cast<std::size_t>(t * (x.in / x.group_size) + begin / x.group_size)];
        sum += w.scales[group] * x_scale * static_cast<float>(exact);
      }
      y.push_back(sum);
    }
  }
  return y;
}

TEST(Activations, AsymmetricRangeIsNotWidenedToZero) {
  const std::vector<float> x = {10, 11, 12, 13};
  const QuantizedActivations q = quantize_activations(x, 4, {2, kTokenGroup, 4, false});
  EXPECT_THAT(q.scales, ElementsAre(1));
  EXPECT_THAT(q.centered, ElementsAre(10, 11, 12, 13));  // zero point -10: outside the codes 0..3
}

TEST(Activations, AsymmetricRoundsHalvesToEven) {
  // s = 1, z = round(1.5) = 2; codes round(x) + 2 = 0, 2, 2, 4, 5, clamped to 3.
  const std::vector<float> x = {-1.5F, -.5F, .5F, 1.5F};
  const QuantizedActivations q = quantize_activations(x, 4, {2, kTokenGroup, 4, false});
  EXPECT_THAT(q.scales, ElementsAre(1));
  EXPECT_THAT(q.centered, ElementsAre(-2, 0, 0, 1));
}

TEST(Activations, ConstantGroupMeetsTheFloorOfTheScaleAndTheLimitOfTheZeroPoint) {
  const std::vector<float> x(8, 5.0F);
  const QuantizedActivations q = quantize_activations(x, 8, {4, kTokenGroup, 8, false});
  EXPECT_THAT(q.scales, ElementsAre(1e-5F));
  EXPECT_THAT(q.centered, Each(10000 + 15));
  const std::vector<float> negative(8, -5.0F);
  EXPECT_THAT(quantize_activations(negative, 8, {4, kTokenGroup, 8, false}).centered, Each(-10000));
  const std::vector<float> zero(8, 0.0F);
  EXPECT_THAT(quantize_activations(zero, 8, {4, kTokenGroup, 8, false}).centered, Each(0));
}

TEST(Activations, SymmetricClipsHalfAStepAtTheTop) {
  const std::vector<float> x = {-7.5F, 7.5F, 1, 0};
  const QuantizedActivations q = quantize_activations(x, 4, {4, kTokenGroup, 4, true});
  EXPECT_THAT(q.scales, ElementsAre(1));
  EXPECT_THAT(q.centered, ElementsAre(-8, 7, 1, 0));
}

TEST(Activations, ClipMultipliesBothEndsOfTheRange) {
  // s = .5 * 15 / 3 = 2.5, z = round(3 / 2.5) = 1; codes round(x / s) + 1 = -1, 1, 2, 5, clamped.
  const std::vector<float> x = {-6, -1, 2, 9};
  const auto q = quantize_activations(x, 4, {2, kTokenGroup, 4, false, .5});
  EXPECT_THAT(q.scales, ElementsAre(2.5F));
  EXPECT_THAT(q.centered, ElementsAre(-1, 0, 1, 2));
  const std::vector<float> wide = {-15, 15, 2, 0};
  const auto symmetric = quantize_activations(wide, 4, {4, kTokenGroup, 4, true, .5});
  EXPECT_THAT(symmetric.scales, ElementsAre(1));
  EXPECT_THAT(symmetric.centered, ElementsAre(-8, 7, 2, 0));
}

double squared_error(const std::vector<float>& x, const ActivationScheme& scheme) {
  const auto q = quantize_activations(x, std::ssize(x), scheme);
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double scale = q.scales[i / static_cast<std::size_t>(q.group_size)];
    sum += std::pow(q.centered[i] * scale - x[i], 2);
  }
  return sum;
}

TEST(Activations, AClipLosesLessOfGaussianValuesAtThreeBitsAndMoreAtEight) {
  const std::vector<float> x = normal_values(std::int64_t{64} * 128, 11);
  for (const bool symmetric : {false, true}) {
    const ActivationScheme three{3, kTokenGroup, 128, symmetric},
        eight{8, kTokenGroup, 128, symmetric};
    ActivationScheme clipped = three;
    clipped.clip = .8;
    EXPECT_LT(squared_error(x, clipped), .9 * squared_error(x, three));
    clipped.bits = 8;
    EXPECT_GT(squared_error(x, clipped), squared_error(x, eight));
  }
}

TEST(Activations, PerTokenTakesOneScaleForTheRow) {
  const std::vector<float> x = {0, 15, 0, 30, 0, 45, 0, 60};
  ActivationScheme scheme{4, ActivationGranularity::token, 128, false};
  EXPECT_THAT(quantize_activations(x, 4, scheme).scales, ElementsAre(2, 4));
  scheme = {4, kTokenGroup, 2, false};
  EXPECT_THAT(quantize_activations(x, 4, scheme).scales, ElementsAre(1, 2, 3, 4));
}

TEST(Activations, ValuesThatAreNotFiniteReachTheProduct) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = normal_values(64, 1);
    x[40] = bad;
    const QuantizedActivations q = quantize_activations(x, 64, {4, kTokenGroup, 32, false});
    EXPECT_FALSE(std::isnan(q.scales[0]));
    EXPECT_TRUE(std::isnan(q.scales[1]));
    std::vector<float> y(3);
    reference_product(q, random_weight(3, 64, 4, 32, 2), y);
    for (const float value : y) EXPECT_TRUE(std::isnan(value));
  }
}

TEST(Activations, ErrorIsAtMostHalfAStepAndTheZeroPointsHalf) {
  const std::vector<float> x = normal_values(256, 5);
  const QuantizedActivations q = quantize_activations(x, 256, {8, kTokenGroup, 64, false});
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float scale = q.scales[i / 64];
    EXPECT_NEAR(static_cast<float>(q.centered[i]) * scale, x[i], scale * 1.001F) << i;
  }
}

struct Case {
  std::int64_t tokens, out, in;
  int weight_bits, activation_bits;
  std::int64_t weight_group, activation_group;
};

class ProductCase : public testing::TestWithParam<Case> {};

TEST_P(ProductCase, EqualsTheDefinitionToTheLastBit) {
  const Case& c = GetParam();
  const GroupAffineWeight w = random_weight(c.out, c.in, c.weight_bits, c.weight_group, 17);
  const QuantizedActivations x =
      quantize_activations(normal_values(c.tokens * c.in, 23), c.in,
                           {c.activation_bits, kTokenGroup, c.activation_group, false});
  std::vector<float> y(static_cast<std::size_t>(c.tokens * c.out));
  reference_product(x, w, y);
  EXPECT_EQ(y, defined_product(x, w));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ProductCase,
                         testing::Values(Case{1, 1, 8, 4, 4, 8, 8}, Case{3, 5, 96, 3, 3, 32, 32},
                                         Case{17, 33, 128, 4, 4, 128, 128},
                                         Case{2, 4, 1536, 2, 8, 1536, 1536},
                                         Case{5, 70, 256, 8, 8, 64, 256},
                                         Case{5, 7, 256, 4, 4, 256, 32},
                                         Case{4, 9, 120, 5, 6, 24, 40}));

TEST(Product, DoesNotOverflowAtTheExtremes) {
  // Every product is 255 * 10255, over a row of 4096: 1.07e10, five times what an int32 holds.
  constexpr std::int64_t kIn = 4096;
  GroupAffineWeight w;
  w.out = 4;
  w.in = kIn;
  w.bits = 8;
  w.group_size = kIn;
  w.codes.assign(4 * kIn, 255);
  w.zeros.assign(4, 0);
  w.scales.assign(4, 1);
  QuantizedActivations x{2, kIn, kIn, std::vector<std::int16_t>(2 * kIn, 10255), {1, 1}};
  std::vector<float> y(8);
  reference_product(x, w, y);
  EXPECT_THAT(y, Each(static_cast<float>(255.0 * 10255.0 * kIn)));
}

TEST(Product, DoesNotDependOnTheNumberOfThreads) {
  const GroupAffineWeight w = random_weight(130, 256, 4, 64, 31);
  const QuantizedActivations x =
      quantize_activations(normal_values(37 * 256, 37), 256, {4, kTokenGroup, 64, false});
  std::vector<float> one(37 * 130);
  std::vector<float> many(37 * 130);
  const int before = thread_count();
  set_thread_count(1);
  reference_product(x, w, one);
  set_thread_count(5);
  reference_product(x, w, many);
  set_thread_count(before);
  EXPECT_EQ(one, many);
}

}  // namespace
}  // namespace lowbit
