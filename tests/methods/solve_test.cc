// GPTQ: the golden numbers of the gptq sheet, and what must hold for any weight.
#include "methods/solve.h"

#include <gtest/gtest.h>

#include "methods/range.h"

namespace lowbit {
namespace {

const WeightScheme kTwoBits{.bits = 2, .group_size = 4};
// Steps of 0.5, codes for -1 .. 0.5.
const GroupParameters kGrid{.scale = at::full({1, 1}, 0.5F), .zero = at::full({1, 1}, 2.0F)};

Tensor golden_inputs() {
  return at::tensor({1.F, .4F, .7F,  .4F,  -.7F, -.6F, .5F, .8F, -.5F, -.5F, .2F, .6F,
                     1.F, .5F, -.3F, -.5F, -.2F, -.4F, 0.F, .5F, .4F,  0.F,  .4F, .6F})
      .view({6, 4});
}
Tensor golden_weight() { return at::tensor({-.37F, -.5F, -.52F, -.16F}).view({1, 4}); }
Tensor golden_hessian() { return golden_inputs().t().matmul(golden_inputs()) * (2.0 / 6.0); }

GroupParameters no_range(const Tensor&, const Tensor&) {
  ADD_FAILURE() << "ranges are those given";
  return {};
}

Tensor rounded(const GptqResult& result, const WeightScheme& scheme) {
  return fake_quant_weight(result.weight, result.parameters, scheme);
}

double output_error(const Tensor& weight, const Tensor& approximation, const Tensor& x) {
  return x.matmul((weight - approximation).t()).square().sum().item<double>();
}

struct Layer {
  Tensor weight, inputs;
  Tensor hessian() const { return inputs.t().matmul(inputs); }
};

Layer random_layer(std::int64_t out, std::int64_t in) {
  at::manual_seed(3);
  const Tensor mix = at::randn({in, in}) * 0.3 + at::eye(in);
  return {.weight = at::randn({out, in}), .inputs = at::randn({4 * in, in}).matmul(mix)};
}

TEST(InverseFactor, Golden) {
  double damping = 0.01;
  const Tensor u = inverse_factor(golden_hessian(), damping);
  EXPECT_EQ(damping, 0.01);
  const std::vector<double> first = {3.561696, -7.997243, 2.096692, -3.990099};
  for (int j = 0; j < 4; ++j)
    EXPECT_NEAR(u[0][j].item<double>(), first[static_cast<std::size_t>(j)], 2e-4);
  EXPECT_NEAR(u[1][1].item<double>(), 3.275805, 1e-4);
  EXPECT_NEAR(u[2][2].item<double>(), 2.91502, 1e-4);
  EXPECT_NEAR(u[3][3].item<double>(), 1.213295, 1e-4);
  EXPECT_EQ(u[3][0].item<double>(), 0.0);
}

TEST(InverseFactor, DampsASingularMatrixUntilItIsNot) {
  double damping = 0;
  const Tensor x = at::ones({1, 8});
  const Tensor u = inverse_factor(x.t().matmul(x), damping);
  EXPECT_GT(damping, 0);
  EXPECT_TRUE(u.isfinite().all().item<bool>());
}

TEST(Gptq, Golden) {
  const auto solved = gptq(golden_weight(), golden_hessian(), kGrid, kTwoBits,
                           {.damping = 0.01, .activation_order = true}, no_range);
  EXPECT_TRUE(rounded(solved, kTwoBits).equal(at::tensor({-.5F, 0.F, -.5F, 0.F}).view({1, 4})));
  // In order, the grid kept by a range that finds the same one again.
  const auto in_order = gptq(golden_weight(), golden_hessian(), kGrid, kTwoBits,
                             {.damping = 0.01, .activation_order = false},
                             [](const Tensor&, const Tensor&) { return kGrid; });
  EXPECT_TRUE(rounded(in_order, kTwoBits).equal(at::tensor({-.5F, 0.F, -1.F, .5F}).view({1, 4})));
  EXPECT_NEAR(output_error(golden_weight(), rounded(solved, kTwoBits), golden_inputs()), .046866,
              1e-5);
  EXPECT_NEAR(output_error(golden_weight(), rounded(in_order, kTwoBits), golden_inputs()), .071266,
              1e-5);
}

TEST(Gptq, IsRoundingToNearestWhereInputsAreIndependent) {
  const Layer layer = random_layer(5, 64);
  const WeightScheme scheme{.bits = 3, .group_size = 16};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const Tensor diagonal = at::diag(at::rand({64}) + 0.1);
  const auto solved = gptq(layer.weight, diagonal, grid, scheme, {}, no_range);
  EXPECT_TRUE(rounded(solved, scheme).equal(fake_quant_weight(layer.weight, grid, scheme)));
}

TEST(Gptq, LosesLessThanNearestAndAFactorOfTheHessianChangesNothing) {
  const Layer layer = random_layer(24, 320);  // more than one run of columns
  for (const int bits : {2, 3, 4}) {
    const WeightScheme scheme{.bits = bits, .group_size = 32};
    const GroupParameters grid = min_max_range(layer.weight, scheme);
    const Tensor nearest = fake_quant_weight(layer.weight, grid, scheme);
    const auto solved = gptq(layer.weight, layer.hessian(), grid, scheme, {}, no_range);
    const auto scaled = gptq(layer.weight, layer.hessian() * 7.0, grid, scheme, {}, no_range);
    const double before = output_error(layer.weight, nearest, layer.inputs);
    const double after = output_error(layer.weight, rounded(solved, scheme), layer.inputs);
    EXPECT_LT(after, 0.6 * before) << bits << " bits";
    EXPECT_LT((rounded(scaled, scheme) - rounded(solved, scheme)).abs().gt(0).sum().item<double>(),
              8);
  }
}

// The sheet's steps with whole matrices in double: round a column, put its error on all that
// follow.
Tensor column_by_column(const Tensor& weight, const Tensor& hessian, const GroupParameters& grid,
                        const WeightScheme& scheme, const Tensor& order) {
  double damping = 0.01;
  const Tensor u = inverse_factor(hessian.index_select(0, order).index_select(1, order), damping);
  Tensor w = weight.index_select(1, order).to(at::kDouble);
  Tensor codes = at::zeros_like(weight);
  for (std::int64_t i = 0; i < weight.size(1); ++i) {
    const std::int64_t column = order[i].item<std::int64_t>();
    Tensor whole = at::zeros_like(weight);
    whole.select(1, column).copy_(w.select(1, i));
    const Tensor rounded = fake_quant_weight(whole, grid, scheme).select(1, column);
    codes.select(1, column).copy_(rounded);
    const Tensor error = (w.select(1, i) - rounded.to(at::kDouble)) / u[i][i];
    w = w - at::outer(error, u[i]);
  }
  return codes;
}

TEST(Gptq, EqualsTheReferenceThatRoundsColumnByColumn) {
  const Layer layer = random_layer(12, 320);  // more than two runs of columns
  const WeightScheme scheme{.bits = 4, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const Tensor order = layer.hessian().diagonal().argsort(-1, true);
  const Tensor expected = column_by_column(layer.weight, layer.hessian(), grid, scheme, order);
  const auto solved = gptq(layer.weight, layer.hessian(), grid, scheme, {}, no_range);
  // A value at the border of two codes may fall either way in float32, and moves what follows it.
  const double others =
      (rounded(solved, scheme) - expected).abs().gt(0).to(at::kFloat).mean().item<double>();
  EXPECT_LT(others, 0.01);
}

TEST(Gptq, RowsAreIndependent) {
  const Layer layer = random_layer(6, 64);
  const WeightScheme scheme{.bits = 3, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const auto all = gptq(layer.weight, layer.hessian(), grid, scheme, {}, no_range);
  const GroupParameters of_row{.scale = grid.scale.slice(0, 2, 3),
                               .zero = grid.zero.slice(0, 2, 3)};
  const auto alone =
      gptq(layer.weight.slice(0, 2, 3), layer.hessian(), of_row, scheme, {}, no_range);
  EXPECT_TRUE(rounded(all, scheme).slice(0, 2, 3).equal(rounded(alone, scheme)));
}

TEST(Gptq, SolvedAgainStaysWhereItIs) {
  const Layer layer = random_layer(6, 64);
  const WeightScheme scheme{.bits = 3, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const auto once = gptq(layer.weight, layer.hessian(), grid, scheme, {}, no_range);
  const Tensor codes = rounded(once, scheme);
  const auto twice = gptq(codes, layer.hessian(), grid, scheme, {}, no_range);
  EXPECT_TRUE(rounded(twice, scheme).equal(codes));
}

TEST(Gptq, AnInputThatNeverCameCostsNothing) {
  Layer layer = random_layer(3, 32);
  layer.inputs.select(1, 5).zero_();
  const WeightScheme scheme{.bits = 3, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const auto solved = gptq(layer.weight, layer.hessian(), grid, scheme, {}, no_range);
  EXPECT_TRUE(rounded(solved, scheme).isfinite().all().item<bool>());
  EXPECT_EQ(rounded(solved, scheme).select(1, 5).abs().max().item<double>(), 0.0);
}

}  // namespace
}  // namespace lowbit
