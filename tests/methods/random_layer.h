// A linear with correlated inputs for the solvers' tests, and what its rounding loses.
#pragma once

#include "methods/ordered_layer.h"

namespace lowbit::testing {

struct Layer {
  Tensor weight, inputs,
      teacher;  // [out, in], [tokens, in] twice: the student's, the float stream's
  Tensor hessian() const { return inputs.t().matmul(inputs); }
  Tensor drift() const { return (teacher - inputs).t().matmul(inputs); }
  InputStatistics statistics() const { return {.hessian = hessian(), .drift = drift()}; }
};

inline Layer random_layer(std::int64_t out, std::int64_t in, std::uint64_t seed = 3) {
  at::manual_seed(seed);
  const Tensor mix = at::randn({in, in}) * 0.3 + at::eye(in);
  Layer layer{
      .weight = at::randn({out, in}), .inputs = at::randn({4 * in, in}).matmul(mix), .teacher = {}};
  layer.teacher = layer.inputs.matmul(at::eye(in) + at::randn({in, in}) * 0.03);
  return layer;
}

// |x approximation^T - target weight^T|^2.
inline double output_error(const Tensor& weight, const Tensor& approximation, const Tensor& x,
                           const Tensor& target) {
  return (x.matmul(approximation.t()) - target.matmul(weight.t())).square().sum().item<double>();
}
inline double output_error(const Tensor& weight, const Tensor& approximation, const Tensor& x) {
  return x.matmul((weight - approximation).t()).square().sum().item<double>();
}

// The data of the sheets' golden numbers (gptq.md, gptaq-foem.md, quantease.md).
inline const WeightScheme kTwoBits{.bits = 2, .group_size = 4};
// Steps of 0.5, codes for -1 .. 0.5.
inline GroupParameters golden_grid() {
  return {.scale = at::full({1, 1}, 0.5F), .zero = at::full({1, 1}, 2.0F)};
}
inline Layer golden_layer() {
  return {.weight = at::tensor({-.37F, -.5F, -.52F, -.16F}).view({1, 4}),
          .inputs = at::tensor({1.F, .4F, .7F,  .4F,  -.7F, -.6F, .5F, .8F, -.5F, -.5F, .2F, .6F,
                                1.F, .5F, -.3F, -.5F, -.2F, -.4F, 0.F, .5F, .4F,  0.F,  .4F, .6F})
                        .view({6, 4}),
          .teacher = at::tensor({1.F, .6F, 1.F,  .3F,  -.8F, -.5F, .6F, 1.1F, -.5F, -.5F, .2F, .8F,
                                 .9F, .4F, -.1F, -.6F, -.4F, -.4F, .1F, .6F,  .5F,  0.F,  .5F, .9F})
                         .view({6, 4})};
}
inline Tensor row_of(float a, float b, float c, float d) {
  return at::tensor({a, b, c, d}).view({1, 4});
}

}  // namespace lowbit::testing
