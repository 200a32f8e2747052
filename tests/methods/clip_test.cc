// The clip of dynamic activation ranges: what the search picks, and that it never loses.
#include "methods/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lowbit {
namespace {

constexpr std::int64_t kTokens = 64, kIn = 256;

ActivationScheme scheme_of(int bits, double clip = 1) {
  return {bits, ActivationGranularity::token_group, 128, false, clip};
}

double output_error(const Tensor& x, const Tensor& weight, const ActivationScheme& scheme) {
  return (x - fake_quant_activation(x, scheme)).matmul(weight.t()).square().sum().item<double>();
}

TEST(SearchClip, NarrowsTheRangeOfGaussianInputsAtThreeBits) {
  at::manual_seed(4);
  const Tensor x = at::randn({kTokens, kIn}), weight = at::randn({48, kIn});
  const double clip = search_clip(x, weight, scheme_of(3));
  EXPECT_GE(clip, 0.7);
  EXPECT_LE(clip, 0.9);
  EXPECT_LT(output_error(x, weight, scheme_of(3, clip)),
            0.9 * output_error(x, weight, scheme_of(3)));
  EXPECT_GE(search_clip(x, weight, scheme_of(8)), 0.95) << "256 codes need no clip";
}

TEST(SearchClip, NeverLosesMoreThanTheWholeRange) {
  at::manual_seed(5);
  const Tensor weight = at::randn({16, kIn});
  const Tensor gaussian = at::randn({kTokens, kIn});
  for (const Tensor& x : {gaussian, gaussian.pow(3), gaussian + 30.0, at::rand({kTokens, kIn}),
                          at::zeros({kTokens, kIn}), gaussian.sign()}) {
    for (int bits = 2; bits <= 8; ++bits) {
      const double clip = search_clip(x, weight, scheme_of(bits));
      EXPECT_LE(output_error(x, weight, scheme_of(bits, clip)),
                output_error(x, weight, scheme_of(bits)));
      EXPECT_EQ(clip * 20, std::round(clip * 20)) << "few ratios are few groups";
    }
  }
}

// A group far from zero has no range that a clip could narrow.
TEST(SearchClip, LeavesGroupsAwayFromZeroAlone) {
  at::manual_seed(6);
  const Tensor x = at::randn({kTokens, kIn}) + 30.0;
  EXPECT_EQ(search_clip(x, at::randn({16, kIn}), scheme_of(3)), 1.0);
}

// Inputs that no weight takes do not count.
TEST(SearchClip, JudgesByTheOutputsNotTheInputs) {
  at::manual_seed(7);
  Tensor x = at::randn({kTokens, kIn});
  x.slice(1, 0, 128).copy_(at::randint(-3, 5, {kTokens, 128}));  // codes: exact unless clipped
  Tensor weight = at::zeros({8, kIn});
  weight.slice(1, 0, 128).copy_(at::randn({8, 128}));
  EXPECT_EQ(search_clip(x, weight, scheme_of(3)), 1.0);
  weight = at::zeros({8, kIn});
  weight.slice(1, 128, 256).copy_(at::randn({8, 128}));
  EXPECT_LT(search_clip(x, weight, scheme_of(3)), 0.95);
}

TEST(SearchClip, IsOneWhereInputsAreNotFinite) {
  Tensor x = at::ones({2, kIn});
  x[0][3] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(search_clip(x, at::ones({4, kIn}), scheme_of(3)), 1.0);
}

}  // namespace
}  // namespace lowbit
