// GPTQ, GPTAQ and FOEM: the golden numbers of their sheets, and what must hold for any weight.
#include "methods/gptq.h"

#include <gtest/gtest.h>

#include "format/value_grid.h"
#include "methods/random_layer.h"
#include "methods/range.h"

namespace lowbit {
namespace {

using testing::golden_grid;
using testing::golden_layer;
using testing::kTwoBits;
using testing::Layer;
using testing::output_error;
using testing::random_layer;
using testing::row_of;

Tensor golden_hessian() { return golden_layer().hessian() * (2.0 / 6.0); }

GroupParameters no_range(const Tensor&, const Tensor&) {
  ADD_FAILURE() << "ranges are those given";
  return {};
}

Tensor rounded(const SolvedWeight& result, const WeightScheme& scheme) {
  return fake_quant_weight(result.weight, result.parameters, scheme);
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

// In order, the grid kept by a range that finds the same one again.
SolvedWeight golden_in_order(const GptqOptions& options) {
  GptqOptions in_order = options;
  in_order.activation_order = false;
  const Layer layer = golden_layer();
  return gptq(layer.weight,
              {.hessian = layer.hessian() * (2.0 / 6.0), .drift = layer.drift() * (2.0 / 6.0)},
              golden_grid(), kTwoBits, in_order,
              [](const Tensor&, const Tensor&) { return golden_grid(); });
}

TEST(Gptq, Golden) {
  const Layer layer = golden_layer();
  const auto solved = gptq(layer.weight, {golden_hessian()}, golden_grid(), kTwoBits, {}, no_range);
  EXPECT_TRUE(rounded(solved, kTwoBits).equal(row_of(-.5F, 0.F, -.5F, 0.F)));
  const auto in_order = golden_in_order({});
  EXPECT_TRUE(rounded(in_order, kTwoBits).equal(row_of(-.5F, 0.F, -1.F, .5F)));
  EXPECT_NEAR(output_error(layer.weight, rounded(solved, kTwoBits), layer.inputs), .046866, 1e-5);
  EXPECT_NEAR(output_error(layer.weight, rounded(in_order, kTwoBits), layer.inputs), .071266, 1e-5);
}

TEST(Gptaq, GoldenPull) {
  const Layer layer = golden_layer();
  const Tensor drift = layer.drift() * (2.0 / 6.0);
  const Tensor first = at::tensor({.016667F, .03F, .006667F, -.023333F});
  const Tensor fourth = at::tensor({-.136667F, -.136667F, .09F, .2F});
  EXPECT_LT((drift[0] - first).abs().max().item<double>(), 1e-6);
  EXPECT_LT((drift[3] - fourth).abs().max().item<double>(), 1e-6);
  double damping = 0.01;
  const Tensor upper = inverse_factor(golden_hessian(), damping);
  const Tensor pull = drift_pull(drift.to(at::kDouble), upper, 1.0);
  const std::vector<double> expected = {0, -.028365, .20093, -.16657, 0, 0, .27581, -.058007,
                                        0, 0,        0,      .103046, 0, 0, 0,      0};
  for (std::size_t k = 0; k < expected.size(); ++k) {
    EXPECT_NEAR(pull.flatten()[static_cast<std::int64_t>(k)].item<double>(), expected[k], 2e-5);
  }
}

TEST(Gptaq, Golden) {
  const Layer layer = golden_layer();
  const auto error_of = [&](const SolvedWeight& solved) {
    return output_error(layer.weight, rounded(solved, kTwoBits), layer.inputs, layer.teacher);
  };
  for (const double asymmetry : {0.0, 0.25, 0.5}) {
    const auto solved = golden_in_order({.asymmetry = asymmetry});
    EXPECT_TRUE(rounded(solved, kTwoBits).equal(row_of(-.5F, 0.F, -1.F, .5F))) << asymmetry;
    EXPECT_NEAR(error_of(solved), .225363, 1e-5);
  }
  // Runs of two: the published code, which corrects with rounded columns there, gives (.., -1, .5).
  for (const std::int64_t run : {1, 2, 3, 4}) {
    const auto solved = golden_in_order({.asymmetry = 1, .run_columns = run});
    EXPECT_TRUE(rounded(solved, kTwoBits).equal(row_of(-.5F, 0.F, -1.F, 0.F))) << run;
    EXPECT_NEAR(error_of(solved), .112463, 1e-5);
  }
}

TEST(Foem, Golden) {
  for (const std::int64_t run : {1, 2, 4}) {  // the published code forgets the border of two runs
    const auto solved = golden_in_order({.first_order = 0.1, .run_columns = run});
    const Tensor expected = row_of(-.37F, -.237294F, -.82726F, .341745F);
    EXPECT_LT((solved.weight - expected).abs().max().item<double>(), 2e-5) << solved.weight;
    EXPECT_TRUE(rounded(solved, kTwoBits).equal(row_of(-.5F, 0.F, -1.F, .5F)));
    EXPECT_TRUE(rounded(golden_in_order({.first_order = 0.2, .run_columns = run}), kTwoBits)
                    .equal(row_of(-.5F, -.5F, -.5F, 0.F)));
  }
}

// Whatever an extension adds is nothing where it has nothing to say, to the last bit.
TEST(Gptq, IsWhatItsExtensionsAreWithoutDriftOrShare) {
  const Layer layer = random_layer(12, 320);
  const WeightScheme scheme{.bits = 3, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const InputStatistics still{.hessian = layer.hessian(), .drift = at::zeros({320, 320})};
  const auto solved_by = [&](const InputStatistics& inputs, const GptqOptions& options) {
    return gptq(layer.weight, inputs, grid, scheme, options, no_range).weight;
  };
  const Tensor expected = solved_by({layer.hessian()}, {});
  EXPECT_TRUE(solved_by(layer.statistics(), {.asymmetry = 0}).equal(expected));
  EXPECT_TRUE(solved_by(still, {.asymmetry = 1}).equal(expected));
  EXPECT_TRUE(solved_by({layer.hessian()}, {.first_order = 1e-30}).equal(expected));
  EXPECT_FALSE(solved_by(layer.statistics(), {.asymmetry = 0.25}).equal(expected));
  EXPECT_FALSE(solved_by({layer.hessian()}, {.first_order = 0.1}).equal(expected));
}

TEST(Gptaq, IsNearerToTheFloatLayerOnTheFloatStream) {
  double gptq_error = 0, gptaq_error = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const Layer layer = random_layer(16, 32, seed);
    const WeightScheme scheme{.bits = 3, .group_size = 0};
    const GroupParameters grid = min_max_range(layer.weight, scheme);
    const auto error_of = [&](double asymmetry) {
      const auto solved =
          gptq(layer.weight, layer.statistics(), grid, scheme, {.asymmetry = asymmetry}, no_range);
      return output_error(layer.weight, rounded(solved, scheme), layer.inputs, layer.teacher);
    };
    gptq_error += error_of(0);
    gptaq_error += error_of(1);
  }
  EXPECT_LT(gptaq_error, 0.95 * gptq_error);
}

TEST(Gptq, IsRoundingToNearestWhereInputsAreIndependent) {
  const Layer layer = random_layer(5, 64);
  const WeightScheme scheme{.bits = 3, .group_size = 16};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const Tensor diagonal = at::diag(at::rand({64}) + 0.1);
  const auto solved = gptq(layer.weight, {diagonal}, grid, scheme, {}, no_range);
  EXPECT_TRUE(rounded(solved, scheme).equal(fake_quant_weight(layer.weight, grid, scheme)));
}

TEST(Gptq, LosesLessThanNearestAndAFactorOfTheHessianChangesNothing) {
  const Layer layer = random_layer(24, 320);  // more than one run of columns
  for (const int bits : {2, 3, 4}) {
    const WeightScheme scheme{.bits = bits, .group_size = 32};
    const GroupParameters grid = min_max_range(layer.weight, scheme);
    const Tensor nearest = fake_quant_weight(layer.weight, grid, scheme);
    const auto solved = gptq(layer.weight, {layer.hessian()}, grid, scheme, {}, no_range);
    const auto scaled = gptq(layer.weight, {layer.hessian() * 7.0}, grid, scheme, {}, no_range);
    const double before = output_error(layer.weight, nearest, layer.inputs);
    const double after = output_error(layer.weight, rounded(solved, scheme), layer.inputs);
    EXPECT_LT(after, 0.6 * before) << bits << " bits";
    EXPECT_LT((rounded(scaled, scheme) - rounded(solved, scheme)).abs().gt(0).sum().item<double>(),
              8);
  }
}

TEST(Gptq, LosesLessThanNearestInValueFormats) {
  const Layer layer = random_layer(24, 320);
  for (const ValueFormat& format : value_formats()) {
    const WeightScheme& scheme = format.scheme;
    const GroupParameters grid = choose_range(RangeMethod::min_max, layer.weight, scheme, {});
    const Tensor nearest = fake_quant_weight(layer.weight, grid, scheme);
    const double before = output_error(layer.weight, nearest, layer.inputs);
    for (const GptqOptions& options : {GptqOptions{}, GptqOptions{.polish = 2}}) {
      const auto solved = gptq(layer.weight, {layer.hessian()}, grid, scheme, options, no_range);
      EXPECT_EQ(solved.parameters.global_scale, grid.global_scale);
      const double after = output_error(layer.weight, rounded(solved, scheme), layer.inputs);
      EXPECT_LT(after, 0.7 * before) << format.name;
    }
  }
}

// The sheets' steps with whole matrices in double: round a column, put its error and its share of
// the drift on all that follow.
Tensor column_by_column(const Layer& layer, const GroupParameters& grid, const WeightScheme& scheme,
                        const GptqOptions& options) {
  const Tensor order = layer.hessian().diagonal().argsort(-1, true);
  const auto both_ways = [&](const Tensor& matrix) {
    return matrix.index_select(0, order).index_select(1, order).to(at::kDouble);
  };
  double damping = options.damping;
  const Tensor u = inverse_factor(both_ways(layer.hessian()), damping);
  const Tensor p = drift_pull(both_ways(layer.drift()), u, options.asymmetry);
  const Tensor origin = layer.weight.index_select(1, order).to(at::kDouble);
  Tensor w = origin.clone();
  Tensor codes = at::zeros_like(layer.weight);
  for (std::int64_t i = 0; i < w.size(1); ++i) {
    const std::int64_t column = order[i].item<std::int64_t>();
    w.select(1, i).sub_((w - origin).select(1, i) * options.first_order);
    const Tensor value = w.select(1, i).clone();
    Tensor whole = at::zeros_like(layer.weight);
    whole.select(1, column).copy_(value);
    const Tensor rounded = fake_quant_weight(whole, grid, scheme).select(1, column);
    codes.select(1, column).copy_(rounded);
    const Tensor drawn = (value - origin.select(1, i)) * options.first_order;
    const Tensor error = (value - rounded.to(at::kDouble) - drawn) / u[i][i];
    w = w - at::outer(error, u[i]) + at::outer(value, p[i]);
  }
  return codes;
}

TEST(Gptq, EqualsTheReferenceThatRoundsColumnByColumn) {
  const Layer layer = random_layer(12, 320);  // more than two runs of columns
  for (const WeightScheme& scheme :
       {WeightScheme{.bits = 4, .group_size = 32}, value_format(WeightFormat::nvfp4)->scheme}) {
    const GroupParameters grid = choose_range(RangeMethod::min_max, layer.weight, scheme, {});
    for (const GptqOptions& options :
         {GptqOptions{}, GptqOptions{.asymmetry = 1}, GptqOptions{.first_order = 0.1},
          GptqOptions{.asymmetry = 0.5, .first_order = 0.2, .run_columns = 37}}) {
      const Tensor expected = column_by_column(layer, grid, scheme, options);
      const auto solved = gptq(layer.weight, layer.statistics(), grid, scheme, options, no_range);
      // A value at the border of two codes may fall either way in float32, and moves what follows
      // it.
      const double others =
          (rounded(solved, scheme) - expected).abs().gt(0).to(at::kFloat).mean().item<double>();
      EXPECT_LT(others, 0.01) << options.asymmetry << ", " << options.first_order;
    }
  }
}

TEST(Gptq, RowsAreIndependent) {
  const Layer layer = random_layer(6, 64);
  const WeightScheme scheme{.bits = 3, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const auto all = gptq(layer.weight, {layer.hessian()}, grid, scheme, {}, no_range);
  const GroupParameters of_row{.scale = grid.scale.slice(0, 2, 3),
                               .zero = grid.zero.slice(0, 2, 3)};
  const auto alone =
      gptq(layer.weight.slice(0, 2, 3), {layer.hessian()}, of_row, scheme, {}, no_range);
  EXPECT_TRUE(rounded(all, scheme).slice(0, 2, 3).equal(rounded(alone, scheme)));
}

TEST(Gptq, SolvedAgainStaysWhereItIs) {
  const Layer layer = random_layer(6, 64);
  const WeightScheme scheme{.bits = 3, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const auto once = gptq(layer.weight, {layer.hessian()}, grid, scheme, {}, no_range);
  const Tensor codes = rounded(once, scheme);
  const auto twice = gptq(codes, {layer.hessian()}, grid, scheme, {}, no_range);
  EXPECT_TRUE(rounded(twice, scheme).equal(codes));
}

TEST(Gptq, AnInputThatNeverCameCostsNothing) {
  Layer layer = random_layer(3, 32);
  layer.inputs.select(1, 5).zero_();
  const WeightScheme scheme{.bits = 3, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const auto solved = gptq(layer.weight, {layer.hessian()}, grid, scheme, {}, no_range);
  EXPECT_TRUE(rounded(solved, scheme).isfinite().all().item<bool>());
  EXPECT_EQ(rounded(solved, scheme).select(1, 5).abs().max().item<double>(), 0.0);
}

}  // namespace
}  // namespace lowbit
