#include "calib/fake_quant.h"

#include <gtest/gtest.h>

#include "format/group_affine.h"
#include "format/value_grid.h"

namespace lowbit {
namespace {

struct Case {
  int bits;
  std::int64_t out, in, group;
};

std::vector<ActivationScheme> activation_schemes(std::int64_t group) {
  std::vector<ActivationScheme> schemes;
  for (int bits = 2; bits <= 8; ++bits) {
    for (const double clip : {1.0, 0.95, 0.8, 0.6, 0.1}) {
      for (const bool symmetric : {false, true}) {
        schemes.push_back({bits, ActivationGranularity::token_group, group, symmetric, clip});
      }
    }
  }
  return schemes;
}

class FakeQuant : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    at::manual_seed(8);
    const Case c = GetParam();
    weight = at::randn({c.out, c.in});
    weight.view(-1)[0] = 50.0F;  // an outlier: clipping on both sides
    const std::int64_t groups = c.in / c.group;
    parameters = {.scale = at::rand({c.out, groups}) * 0.3 + 0.05,
                  .zero = at::rand({c.out, groups}) * ((1 << c.bits) + 1.0) - 1.0,
                  .centered = {}};
    scheme = {.bits = c.bits, .group_size = c.group};
  }
  Tensor weight;
  GroupParameters parameters;
  WeightScheme scheme;
};

TEST_P(FakeQuant, WeightKernelEqualsTheReference) {
  EXPECT_TRUE(at::equal(fake_quant_weight(weight, parameters, scheme),
                        fake_quant_weight_reference(weight, parameters, scheme)));
}

TEST_P(FakeQuant, WeightGradientKernelEqualsTheReference) {
  const Tensor upstream = at::randn_like(weight);
  const auto found = fake_quant_weight_backward(weight, parameters, scheme, upstream);
  const auto expected = fake_quant_weight_backward_reference(weight, parameters, scheme, upstream);
  EXPECT_TRUE(at::allclose(found.scale, expected.scale, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(found.zero, expected.zero, 1e-4, 1e-4));
  EXPECT_TRUE(at::equal(found.weight, expected.weight));
}

// The efficientqat sheet's golden gradient, one weight of the group at a time.
TEST(FakeQuantGradients, Golden) {
  const WeightScheme scheme{.bits = 2, .group_size = 4};
  const Tensor weight = at::tensor({-.9F, -.2F, .35F, 1.1F}).view({1, 4});
  const GroupParameters p{.scale = at::full({1, 1}, .5F), .zero = at::ones({1, 1}), .centered = {}};
  EXPECT_TRUE(at::equal(fake_quant_weight(weight, p, scheme),
                        at::tensor({-.5F, 0.F, .5F, 1.F}).view({1, 4})));
  constexpr double kByScale[] = {-1, .4, .3, -.2}, kByZero[] = {-.5, 0, 0, 0};
  for (int i = 0; i < 4; ++i) {
    Tensor upstream = at::zeros({1, 4});
    upstream[0][i] = 1.0F;
    const auto found = fake_quant_weight_backward(weight, p, scheme, upstream);
    EXPECT_NEAR(found.scale.item<double>(), kByScale[i], 1e-6) << i;
    EXPECT_NEAR(found.zero.item<double>(), kByZero[i], 1e-6) << i;
    EXPECT_EQ(found.weight.sum().item<double>(), i == 0 ? 0.0 : 1.0) << i;
  }
}

// What training sees is what the format stores, up to the scale's storage type.
TEST_P(FakeQuant, WeightEqualsThePackedFormat) {
  const Tensor scale = parameters.scale.to(at::kBFloat16).to(at::kFloat);
  const Tensor zero = parameters.zero.round().clamp(0, (1 << scheme.bits) - 1);
  const auto packed = quantize_group_affine(to_floats(weight), weight.size(0), weight.size(1),
                                            scheme, to_floats(scale), to_floats(zero), DType::bf16);
  const Tensor stored = to_tensor(packed.dequantize(), {weight.size(0), weight.size(1)});
  EXPECT_TRUE(at::equal(stored, fake_quant_weight(weight, {scale, zero, {}}, scheme)));
}

TEST(FakeQuantValues, KernelEqualsReferenceAndFormat) {
  at::manual_seed(12);
  const Tensor weight = at::randn({6, 128});
  for (const ValueFormat& format : value_formats()) {
    const std::int64_t groups =
        format.scheme.group_size == 0 ? 1 : weight.size(1) / format.scheme.group_size;
    const ScaleGrid grid(format.scale_type, format.has_global_scale ? 1000.0F : 1.0F);
    Tensor scale = at::rand({6, groups}) * 0.3 + 0.05;
    float* scales = scale.data_ptr<float>();
    for (std::int64_t i = 0; i < scale.numel(); ++i) scales[i] = grid.nearest(scales[i]);
    const GroupParameters parameters{.scale = scale, .zero = at::zeros_like(scale)};
    const Tensor found = fake_quant_weight(weight, parameters, format.scheme);
    EXPECT_TRUE(at::equal(found, fake_quant_weight_reference(weight, parameters, format.scheme)))
        << format.name;
    const auto packed =
        quantize_group_affine(to_floats(weight), 6, 128, format.scheme, to_floats(scale), {}, grid);
    EXPECT_TRUE(at::equal(to_tensor(packed.dequantize(), {6, 128}), found)) << format.name;
  }
}

TEST(FakeQuantValues, InputKernelEqualsReference) {
  at::manual_seed(13);
  Tensor x = at::randn({6, 128}) * at::randn({6, 128}).exp();
  x.select(0, 2).zero_();
  for (const ValueFormat& format : value_formats()) {
    if (!format.for_inputs) continue;
    ActivationScheme scheme = input_scheme(format);
    if (scheme.stores_scale()) scheme.scale = global_scale_of(scheme.format, 4);  // some are larger
    const Tensor found = fake_quant_activation(x, scheme);
    EXPECT_TRUE(at::equal(found, fake_quant_activation_reference(x, scheme))) << format.name;
    EXPECT_GT((found - x).abs().max().item<double>(), 0) << format.name;
    Tensor damaged = x.clone();
    damaged[1][5] = std::numeric_limits<float>::infinity();
    EXPECT_TRUE(fake_quant_activation(damaged, scheme).select(0, 1).isnan().any().item<bool>());
    EXPECT_TRUE(
        fake_quant_activation_reference(damaged, scheme).select(0, 1).isnan().any().item<bool>());
  }
}

TEST_P(FakeQuant, ActivationKernelEqualsReferenceAndFormat) {
  for (const ActivationScheme& how : activation_schemes(scheme.group_size)) {
    SCOPED_TRACE(describe(how));
    const Tensor found = fake_quant_activation(weight, how);
    EXPECT_TRUE(at::equal(found, fake_quant_activation_reference(weight, how)));
    const auto values = to_floats(weight);
    const QuantizedActivations stored = quantize_activations(values, weight.size(1), how);
    const auto flat = to_floats(found);
    for (std::size_t i = 0; i < flat.size(); ++i) {
      const float scale = stored.scales[i / static_cast<std::size_t>(scheme.group_size)];
      ASSERT_EQ(flat[i], static_cast<float>(stored.centered[i]) * scale) << "value " << i;
    }
  }
}

TEST_P(FakeQuant, ActivationGradientIsStraightThrough) {
  const Tensor x = weight.clone().set_requires_grad(true);
  const Tensor upstream = at::randn_like(weight);
  fake_quant_activation(x, {.bits = scheme.bits, .group_size = scheme.group_size, .clip = 0.5})
      .backward(upstream);
  EXPECT_TRUE(at::equal(x.grad(), upstream));
}

INSTANTIATE_TEST_SUITE_P(Shapes, FakeQuant,
                         ::testing::Values(Case{2, 5, 64, 32}, Case{3, 7, 96, 96},
                                           Case{4, 3, 256, 128}, Case{4, 4, 40, 8},
                                           Case{8, 2, 512, 256}));

}  // namespace
}  // namespace lowbit
