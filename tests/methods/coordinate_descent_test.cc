// Coordinate descent: the golden numbers of the quantease sheet, and what must hold for any weight.
#include "methods/coordinate_descent.h"

#include <gtest/gtest.h>

#include "methods/gptq.h"
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

struct Solved {
  Tensor weight, codes;  // as it is left, and its nearest codes
};

Solved descended(const Layer& layer, const GroupParameters& grid, const WeightScheme& scheme,
                 const DescentOptions& options, const Tensor& start = {}) {
  const OrderedLayer ordered =
      in_order(layer.weight, layer.statistics(), scheme, ColumnOrder::as_stored);
  const Tensor weight = coordinate_descent(ordered, grid, scheme, options, start);
  return {.weight = weight, .codes = fake_quant_weight(weight, grid, scheme)};
}

// |v X - w X|^2 or, with the teacher's inputs as the target, |v X - w X'|^2.
double error_of(const Layer& layer, const Tensor& codes) {
  return output_error(layer.weight, codes, layer.inputs);
}
double error_to_teacher(const Layer& layer, const Tensor& codes) {
  return output_error(layer.weight, codes, layer.inputs, layer.teacher);
}

SolvedWeight by_gptq(const Layer& layer, const GroupParameters& grid, const WeightScheme& scheme,
                     const GptqOptions& options) {
  return gptq(layer.weight, layer.statistics(), grid, scheme, options,
              [&](const Tensor&, const Tensor&) { return grid; });
}

TEST(CoordinateDescent, Golden) {
  const Layer layer = golden_layer();
  const auto after = [&](std::int64_t passes, const Tensor& start = {}) {
    return descended(layer, golden_grid(), kTwoBits, {.passes = passes, .relaxed_passes = false},
                     start)
        .codes;
  };
  EXPECT_TRUE(after(1).equal(row_of(-.5F, -.5F, -.5F, 0.F)));
  EXPECT_NEAR(error_of(layer, after(1)), .142966, 1e-5);
  EXPECT_TRUE(after(2).equal(row_of(-.5F, 0.F, -.5F, 0.F)));
  EXPECT_NEAR(error_of(layer, after(2)), .046866, 1e-5);
  EXPECT_TRUE(after(9).equal(after(2)));
  const Tensor of_gptq = row_of(-.5F, 0.F, -1.F, .5F);
  EXPECT_TRUE(after(9, of_gptq).equal(of_gptq)) << "no single column can do better";
}

// The sheet's step 3 in double, each u from whole rows.
Tensor column_by_column(const Layer& layer, const GroupParameters& grid, const WeightScheme& scheme,
                        const Tensor& start, std::int64_t passes) {
  const Tensor h = layer.hessian().to(at::kDouble);
  const Tensor w = layer.weight.to(at::kDouble);
  Tensor v = start.to(at::kDouble).clone();
  for (std::int64_t pass = 0; pass < passes; ++pass) {
    for (std::int64_t j = 0; j < w.size(1); ++j) {
      const Tensor u = v.select(1, j) + (w - v).matmul(h.select(1, j)) / h[j][j];
      Tensor whole = at::zeros_like(layer.weight);
      whole.select(1, j).copy_(u);
      v.select(1, j).copy_(fake_quant_weight(whole, grid, scheme).select(1, j));
    }
  }
  return v.to(at::kFloat);
}

TEST(CoordinateDescent, EqualsTheReferenceForRunsOfAnyLength) {
  const Layer layer = random_layer(8, 96);
  const WeightScheme scheme{.bits = 3, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const Tensor nearest = fake_quant_weight(layer.weight, grid, scheme);
  const Tensor expected = column_by_column(layer, grid, scheme, nearest, 3);
  for (const std::int64_t run : {1, 40, 128}) {
    const DescentOptions options{.passes = 3, .relaxed_passes = false, .run_columns = run};
    const Tensor codes = descended(layer, grid, scheme, options, nearest).codes;
    // A value at the border of two codes may fall either way in float32, and moves what follows it.
    const double others = (codes - expected).abs().gt(0).to(at::kFloat).mean().item<double>();
    EXPECT_LT(others, 0.02) << run;
    EXPECT_NEAR(error_of(layer, codes) / error_of(layer, expected), 1, 0.01) << run;
  }
}

TEST(CoordinateDescent, EndsWhereNoSingleCodeCanDoBetter) {
  const Layer layer = random_layer(4, 8);
  const WeightScheme scheme{.bits = 2, .group_size = 8};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const Solved solved =
      descended(layer, grid, scheme, {.passes = 40, .relaxed_passes = false}, layer.weight);
  const double least = error_of(layer, solved.codes);
  for (std::int64_t row = 0; row < 4; ++row) {
    for (std::int64_t column = 0; column < 8; ++column) {
      for (int code = 0; code < 4; ++code) {
        Tensor other = solved.codes.clone();
        other[row][column] = grid.scale[row][0] * (code - grid.zero[row][0]);
        EXPECT_GE(error_of(layer, other), least * (1 - 1e-5)) << row << ", " << column;
      }
    }
  }
  // What is left is each column's best value with all others at their codes.
  const Tensor h = layer.hessian();
  const Tensor best = solved.codes + (layer.weight - solved.codes).matmul(h) / h.diagonal();
  EXPECT_LT((solved.weight - best).abs().max().item<double>(), 1e-3);
}

TEST(CoordinateDescent, IsRoundingToNearestWhereInputsAreIndependent) {
  Layer layer = random_layer(5, 64);
  layer.inputs = at::diag(at::rand({64}) + 0.1);
  layer.teacher = layer.inputs;
  const WeightScheme scheme{.bits = 3, .group_size = 16};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  EXPECT_TRUE(descended(layer, grid, scheme, {.passes = 1})
                  .codes.equal(fake_quant_weight(layer.weight, grid, scheme)));
}

TEST(CoordinateDescent, KeepsTheBestOfItsPassesRowByRow) {
  const Layer layer = random_layer(24, 64);
  const WeightScheme scheme{.bits = 3, .group_size = 32};
  const GroupParameters grid = min_max_range(layer.weight, scheme);
  const auto loss_of_rows = [&](std::int64_t passes) {
    const Tensor codes = descended(layer, grid, scheme, {.passes = passes}).codes;
    return layer.inputs.matmul((layer.weight - codes).t()).square().sum(0);
  };
  const Tensor first = loss_of_rows(1);
  Tensor before = first;
  for (const std::int64_t passes : {3, 6, 30}) {
    const Tensor loss = loss_of_rows(passes);
    EXPECT_TRUE(loss.le(before * (1 + 1e-4)).all().item<bool>()) << passes;
    before = loss;
  }
  EXPECT_LT(before.sum().item<double>(), 0.95 * first.sum().item<double>());
}

TEST(Polish, NeverEndsWorseThanTheSweepAndMostlyBetter) {
  for (const double asymmetry : {0.0, 1.0}) {
    double swept = 0, polished = 0;
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      const Layer layer = random_layer(16, 32, seed);
      const WeightScheme scheme{.bits = 3, .group_size = 16};
      const GroupParameters grid = min_max_range(layer.weight, scheme);
      GptqOptions options{.damping = 1e-6, .asymmetry = asymmetry};
      const auto loss = [&] {
        const auto solved = by_gptq(layer, grid, scheme, options);
        const Tensor codes = fake_quant_weight(solved.weight, solved.parameters, scheme);
        return asymmetry > 0 ? error_to_teacher(layer, codes) : error_of(layer, codes);
      };
      const double before = loss();
      options.polish = 2;
      const double after = loss();
      EXPECT_LE(after, before * (1 + 1e-4)) << seed;
      swept += before;
      polished += after;
    }
    EXPECT_LT(polished, 0.97 * swept) << asymmetry;
  }
}

TEST(Polish, OfTheGoldenLayerStaysAboveItsOptimum) {
  const Layer layer = golden_layer();
  const auto solved = by_gptq(layer, golden_grid(), kTwoBits,
                              {.activation_order = false, .asymmetry = 1, .polish = 3});
  const double loss =
      error_to_teacher(layer, fake_quant_weight(solved.weight, golden_grid(), kTwoBits));
  EXPECT_LE(loss, .112463 + 1e-5) << "GPTAQ's own";
  EXPECT_GE(loss, .050163 - 1e-5) << "the best of all codes";
}

}  // namespace
}  // namespace lowbit
