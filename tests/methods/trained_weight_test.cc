#include "methods/trained_weight.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "methods/range.h"
#include "methods/training.h"

namespace lowbit {
namespace {

constexpr WeightScheme kScheme{.bits = 2, .group_size = 4};
constexpr WeightScheme kSymmetric{.bits = 3, .group_size = 4, .symmetric = true};

Tensor random_weight() {
  at::manual_seed(5);
  return at::randn({3, 8}, at::kFloat);
}

LearnSpec spec(double rounding, double clip, bool signed_steps) {
  return {.scale_rate = 0,
          .zero_rate = 0,
          .rounding_rate = rounding,
          .clip_rate = clip,
          .signed_steps = signed_steps};
}

TrainedWeight trained(const LearnSpec& learn, const WeightScheme& scheme = kScheme) {
  const Tensor weight = random_weight();
  return {learn, scheme, weight, min_max_range(weight, scheme)};
}

Tensor nearest(const WeightScheme& scheme = kScheme) {
  const Tensor weight = random_weight();
  return fake_quant_weight(weight, min_max_range(weight, scheme), scheme);
}

// Rounding with the gradient of the identity.
Tensor straight_round(const Tensor& x) { return x + (x.round() - x).detach(); }

struct Leaves {
  Tensor shift, clips;  // [out, in]; [2, out, groups], shares
};

// The header's formula in operations that record gradients.
// `through_zero`: whether the rounding of the zero point has a gradient.
Tensor reference(const Leaves& leaves, const WeightScheme& scheme, bool through_zero = true) {
  const Tensor weight = random_weight();
  const GroupParameters start = min_max_range(weight, scheme);
  const double top = (1 << scheme.bits) - 1;
  const Tensor low = -leaves.clips[0] * start.zero * start.scale;
  const Tensor high = leaves.clips[1] * (top - start.zero) * start.scale;
  const Tensor scale =
      (scheme.symmetric ? leaves.clips[0] * start.scale : (high - low) / top).unsqueeze(2);
  Tensor zero =
      scheme.symmetric ? start.zero.unsqueeze(2) : straight_round(-low.unsqueeze(2) / scale);
  if (!through_zero) zero = zero.detach();
  const auto groups = [&](const Tensor& t) { return t.view({t.size(0), -1, scheme.group_size}); };
  const Tensor code =
      (straight_round(groups(weight) / scale + groups(leaves.shift)) + zero).clamp(0, top);
  return ((code - zero) * scale).view_as(weight);
}

TEST(TrainedWeight, StartsAtTheNearestCodes) {
  for (const WeightScheme& scheme : {kScheme, kSymmetric}) {
    const TrainedWeight weight = trained(spec(.01, .01, true), scheme);
    EXPECT_TRUE(at::allclose(weight.dequantized(), nearest(scheme), 1e-6, 1e-6));
  }
}

TEST(TrainedWeight, LogitsStartAtOmniQuantsShare) {
  const TrainedWeight weight = trained(spec(0, .01, false));
  const GroupParameters start = min_max_range(random_weight(), kScheme);
  const double share = 1 / (1 + std::exp(-4.0));
  EXPECT_NEAR(share, .982, 5e-4);
  EXPECT_TRUE(at::allclose(weight.parameters().scale, start.scale * share, 1e-5, 0));
}

TEST(TrainedWeight, ASignedStepMovesByTheRateOrNotAtAll) {
  TrainedWeight weight = trained(spec(.125, 0, true));
  Tensor upstream = at::randn({3, 8}, at::kFloat);
  upstream[0].zero_();
  weight.step(upstream, 1, 1);
  const Tensor& shift = weight.snapshot().shift;
  EXPECT_EQ(shift[0].abs().max().item<double>(), 0);
  const Tensor size = shift.abs();
  EXPECT_TRUE(size.eq(0).logical_or(size.eq(.125)).all().item<bool>());
  EXPECT_GT(size.sum().item<double>(), 0);
}

TEST(TrainedWeight, CodesDifferByOneAtMostUnderHalfAShift) {
  TrainedWeight weight = trained(spec(.1, 0, true));
  for (int step = 1; step <= 5; ++step) weight.step(at::randn({3, 8}, at::kFloat), 1, step);
  const Tensor scale = weight.parameters().scale.repeat_interleave(4, 1);
  const Tensor moved = ((weight.dequantized() - nearest()) / scale).round().abs();
  EXPECT_LE(moved.max().item<double>(), 1);
  EXPECT_GT(moved.max().item<double>(), 0);
}

TEST(TrainedWeight, ItsWeightHasTheTrainedCodesAsTheNearest) {
  TrainedWeight weight = trained(spec(.2, .05, true));
  for (int step = 1; step <= 3; ++step) weight.step(at::randn({3, 8}, at::kFloat), 1, step);
  const TrainedWeight::State state = weight.snapshot();
  const Tensor expected = reference({.shift = state.shift, .clips = state.clips}, kScheme);
  EXPECT_TRUE(at::allclose(weight.dequantized(), expected, 1e-5, 1e-6));
}

TEST(TrainedWeight, SharesStayWithinZeroAndOne) {
  TrainedWeight weight = trained(spec(0, .5, true));
  for (int step = 1; step <= 6; ++step) weight.step(at::randn({3, 8}, at::kFloat), 1, step);
  const Tensor clips = weight.snapshot().clips;
  EXPECT_GE(clips.min().item<double>(), 0);
  EXPECT_LE(clips.max().item<double>(), 1);
  EXPECT_TRUE(weight.dequantized().isfinite().all().item<bool>());
}

// Of shares, and of logits, whose clips do not reach the zero point's rounding.
TEST(TrainedWeight, GradientsAreThoseOfTheFormula) {
  for (const WeightScheme& scheme : {kScheme, kSymmetric}) {
    for (const bool signed_steps : {true, false}) {
      TrainedWeight weight = trained(spec(.03, .03, signed_steps), scheme);
      for (int step = 1; step <= 2; ++step) weight.step(at::randn({3, 8}, at::kFloat), 1, step);
      const TrainedWeight::State state = weight.snapshot();
      const Tensor upstream = at::randn({3, 8}, at::kFloat);
      const Tensor shift = state.shift.clone().requires_grad_();
      const Tensor clips = state.clips.clone().requires_grad_();
      const Leaves leaves{.shift = shift, .clips = signed_steps ? clips : clips.sigmoid()};
      const auto expected = torch::autograd::grad(
          {(reference(leaves, scheme, signed_steps) * upstream).sum()}, {shift, clips});
      const TrainedWeight::Gradient found = weight.gradient(upstream);
      EXPECT_TRUE(at::allclose(found.shift, expected[0], 1e-4, 1e-6));
      EXPECT_TRUE(at::allclose(found.clips, expected[1], 1e-4, 1e-6))
          << signed_steps << found.clips << expected[1];
      EXPECT_GT(found.clips.abs().max().item<double>(), 0.01);
    }
  }
}

LearnSpec with_codes(double rate) { return {.scale_rate = .01, .zero_rate = 0, .code_rate = rate}; }

TEST(TrainedWeight, CodesOfTheirOwnStartAtTheNearest) {
  for (const WeightScheme& scheme : {kScheme, kSymmetric}) {
    const TrainedWeight weight = trained(with_codes(.01), scheme);
    EXPECT_TRUE(at::allclose(weight.dequantized(), nearest(scheme), 1e-6, 1e-6));
  }
}

// w' = (round(c) - z) s: by s it is the code less its zero point, by c the scale.
TEST(TrainedWeight, GradientsOfCodesAndOfTheirScaleAreThoseOfTheProduct) {
  for (const WeightScheme& scheme : {kScheme, kSymmetric}) {
    TrainedWeight weight = trained(with_codes(.2), scheme);
    for (int step = 1; step <= 3; ++step) weight.step(at::randn({3, 8}, at::kFloat), 1, step);
    EXPECT_FALSE(at::allclose(weight.dequantized(), nearest(scheme), 1e-3, 1e-3));
    const GroupParameters p = weight.parameters();
    const Tensor codes = weight.snapshot().codes.clone().requires_grad_();
    const Tensor scale = p.scale.clone().requires_grad_();
    const Tensor centered =
        straight_round(codes).view({3, -1, scheme.group_size}) - p.zero.unsqueeze(2);
    const Tensor product = (centered * scale.unsqueeze(2)).view({3, 8});
    EXPECT_TRUE(at::allclose(weight.dequantized(), product, 1e-6, 1e-6));
    const Tensor upstream = at::randn({3, 8}, at::kFloat);
    const auto expected = torch::autograd::grad({(product * upstream).sum()}, {codes, scale});
    const TrainedWeight::Gradient found = weight.gradient(upstream);
    EXPECT_TRUE(at::allclose(found.codes, expected[0], 1e-5, 1e-6));
    EXPECT_TRUE(at::allclose(found.scale, expected[1], 1e-5, 1e-6));
  }
}

TEST(TrainedWeight, CodesStayWithinTheirBitsAndTheWeightMeansThem) {
  for (const WeightScheme& scheme : {kScheme, kSymmetric}) {
    TrainedWeight weight = trained(with_codes(1), scheme);
    for (int step = 1; step <= 9; ++step) weight.step(at::ones({3, 8}, at::kFloat), 1, step);
    const GroupParameters p = weight.parameters();
    const Tensor codes = p.centered.view({3, -1, scheme.group_size}) + p.zero.unsqueeze(2);
    EXPECT_EQ(codes.min().item<double>(), 0);
    EXPECT_LE(codes.max().item<double>(), (1 << scheme.bits) - 1);
    const GroupParameters open{.scale = p.scale, .zero = p.zero};
    EXPECT_TRUE(at::allclose(fake_quant_weight(weight.weight(), open, scheme), weight.dequantized(),
                             1e-5, 1e-6));
  }
}

TEST(TrainedWeight, RestoresWhatItWas) {
  TrainedWeight weight = trained(spec(.1, .1, false));
  const TrainedWeight::State state = weight.snapshot();
  const Tensor before = weight.dequantized().clone();
  weight.step(at::randn({3, 8}, at::kFloat), 1, 1);
  EXPECT_FALSE(weight.dequantized().equal(before));
  weight.restore(state);
  EXPECT_TRUE(weight.dequantized().equal(before));
}

TEST(ClearlyLower, IsAGainBeyondItsStandardError) {
  EXPECT_TRUE(clearly_lower({0.9, 1.9, 2.9}, {1, 2, 3}));
  EXPECT_FALSE(clearly_lower({1, 2, 3}, {1, 2, 3}));
  EXPECT_FALSE(clearly_lower({1.1, 2.1, 3.1}, {1, 2, 3}));
  // gains of 0 and 0.2 have a mean of 0.1 and a standard error of 0.1
  EXPECT_FALSE(clearly_lower({1.01, 1.8}, {1, 2}));
  EXPECT_TRUE(clearly_lower({0.99, 1.8}, {1, 2}));
  EXPECT_TRUE(clearly_lower({0.9}, {1}));
  EXPECT_FALSE(clearly_lower({std::numeric_limits<double>::quiet_NaN(), 0}, {1, 2}));
}

}  // namespace
}  // namespace lowbit
