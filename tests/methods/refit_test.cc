// Scales in closed form: the formula written out for one group, on the codes of the decoupleq
// sheet, and what must hold for any weight.
#include "methods/refit.h"

#include <gtest/gtest.h>

#include "methods/coordinate_descent.h"
#include "methods/random_layer.h"
#include "methods/range.h"

namespace lowbit {
namespace {

using testing::golden_layer;
using testing::Layer;
using testing::output_error;
using testing::random_layer;
using testing::row_of;

constexpr WeightScheme kScheme{.bits = 2, .group_size = 4};

OrderedLayer ordered(const Layer& layer, const WeightScheme& scheme) {
  return in_order(layer.weight, layer.statistics(), scheme, ColumnOrder::as_stored);
}

GroupParameters refitted(const Layer& layer, const WeightScheme& scheme,
                         const RefitOptions& options = {}) {
  GroupParameters p = min_max_range(layer.weight, scheme);
  p.scale = refit_scales(ordered(layer, scheme), layer.weight, p, scheme, options);
  return p;
}

// The weight of the codes nearest under the ranges before, with other scales.
Tensor decoded(const Layer& layer, const WeightScheme& scheme, const GroupParameters& scales) {
  GroupParameters p = freeze_codes(layer.weight, min_max_range(layer.weight, scheme), scheme);
  p.scale = scales.scale;
  return fake_quant_weight(layer.weight, p, scheme);
}

// s = w H c^T / (c H c^T) for one group, in double, with the sheet's H: the mean over the tokens
// and 1 % of the diagonal's mean.
TEST(Refit, IsTheSheetsClosedFormForOneGroup) {
  Layer layer = golden_layer();
  const GroupParameters grid{.scale = at::full({1, 1}, .5F), .zero = at::full({1, 1}, 2.F)};
  for (const Tensor& codes : {row_of(-1, 0, -2, 1), row_of(-1, -1, -1, 0), row_of(-1, 0, -1, 0)}) {
    const Tensor scale =
        refit_scales(ordered(layer, kScheme), codes * .5, grid, kScheme, {.damping = .01});
    const Tensor x = layer.inputs.to(at::kDouble);
    Tensor h = x.t().matmul(x) / 6;
    h.diagonal().add_(.01 * h.diagonal().mean());
    const Tensor c = codes.to(at::kDouble), w = layer.weight.to(at::kDouble);
    const double expected = (w.matmul(h).matmul(c.t()) / c.matmul(h).matmul(c.t())).item<double>();
    EXPECT_NEAR(scale.item<double>(), expected, 1e-5);
    EXPECT_GT(std::abs(expected - .5), .01);
  }
}

TEST(Refit, RecoversTheScalesOfAWeightThatIsCodesTimesScales) {
  Layer layer = random_layer(6, 16);
  const GroupParameters p = min_max_range(layer.weight, kScheme);
  const Tensor truth = p.scale * (at::rand_like(p.scale) * .2 + .9);
  layer.weight = decoded(layer, kScheme, {.scale = truth, .zero = p.zero});
  const GroupParameters coded = freeze_codes(random_layer(6, 16).weight, p, kScheme);
  const Tensor codes = fake_quant_weight(layer.weight, coded, kScheme);
  const Tensor scale = refit_scales(ordered(layer, kScheme), codes, p, kScheme, {});
  EXPECT_TRUE(at::allclose(scale, truth, 1e-3, 1e-5));
}

// At the solution no scale can be moved to lose less, and never more is lost than before.
TEST(Refit, IsTheLeastErrorForItsCodes) {
  for (const bool to_teacher : {false, true}) {
    for (const bool symmetric : {false, true}) {
      const WeightScheme scheme{.bits = 2, .group_size = 8, .symmetric = symmetric};
      const Layer layer = random_layer(5, 32);
      const auto error = [&](const GroupParameters& p) {
        const Tensor v = decoded(layer, scheme, p);
        return to_teacher ? output_error(layer.weight, v, layer.inputs, layer.teacher)
                          : output_error(layer.weight, v, layer.inputs);
      };
      const GroupParameters before = min_max_range(layer.weight, scheme);
      const GroupParameters found = refitted(layer, scheme, {.asymmetry = to_teacher ? 1.0 : 0.0});
      const double least = error(found);
      EXPECT_LT(least, .9 * error(before));
      for (std::int64_t row = 0; row < 5; ++row) {
        for (std::int64_t g = 0; g < 4; ++g) {
          for (const double by : {.99, 1.01}) {
            GroupParameters other = found;
            other.scale = found.scale.clone();
            other.scale[row][g] *= by;
            EXPECT_GT(error(other), least) << row << ' ' << g << ' ' << by;
          }
        }
      }
    }
  }
}

TEST(Refit, InTurnWithCoordinateDescentNoRoundLosesMore) {
  const Layer layer = random_layer(12, 32);
  const OrderedLayer order = ordered(layer, kScheme);
  GroupParameters p = min_max_range(layer.weight, kScheme);
  Tensor solved = layer.weight;
  const auto error = [&] {
    return output_error(layer.weight, fake_quant_weight(solved, p, kScheme), layer.inputs);
  };
  const double first = error();
  double last = first;
  for (int round = 0; round < 6; ++round) {
    const Tensor scale = refit_scales(order, solved, p, kScheme, {});
    const Tensor change = (scale / p.scale).unsqueeze(2);
    solved = (solved.view({12, 8, 4}) * change).view_as(solved);
    p.scale = scale;
    EXPECT_LE(error(), last * (1 + 1e-6)) << "scales of round " << round;
    last = error();
    solved = coordinate_descent(order, p, kScheme, {.passes = 1, .relaxed_passes = false}, solved);
    EXPECT_LE(error(), last * (1 + 1e-6)) << "codes of round " << round;
    last = error();
  }
  EXPECT_LT(last, .6 * first);
}

TEST(Refit, AGroupWithoutCodesKeepsItsScale) {
  Layer layer = random_layer(3, 16);
  layer.weight.slice(1, 4, 8).zero_();
  const GroupParameters before = min_max_range(layer.weight, kScheme);
  const GroupParameters found = refitted(layer, kScheme);
  EXPECT_TRUE(at::allclose(found.scale.select(1, 1), before.scale.select(1, 1), 1e-6, 0));
  EXPECT_TRUE(found.scale.gt(0).all().item<bool>());
}

TEST(Refit, DeadInputsCountAlike) {
  Layer dead = random_layer(3, 16), alike = random_layer(3, 16);
  dead.inputs.zero_();
  dead.teacher.zero_();
  alike.inputs = alike.teacher = at::eye(16);
  EXPECT_TRUE(at::allclose(refitted(dead, kScheme).scale, refitted(alike, kScheme).scale, 1e-5, 0));
}

}  // namespace
}  // namespace lowbit
