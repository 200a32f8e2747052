// solve: rounding under the second-order error of a linear's output. GPTQ (gptq sheet; Frantar et
// al., arXiv 2210.17323): columns are rounded one after the other, and each one's error is made up
// for by those that follow, through the inverse of H = X^T X over the calibration text.
//
// What the pass leaves behind are weights and ranges as any pass does: the weights as they were
// just before they were rounded, whose nearest codes are GPTQ's. A learn pass goes on from there.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

struct GptqOptions {
  double damping = 0.01;
  bool activation_order = true;
};

struct GptqResult {
  Tensor weight;               // [out, in]
  GroupParameters parameters;  // those given, but without activation_order found anew
  double damping = 0;          // what it took for H to be positive definite
};

// `hessian` [in, in], any positive factor of X^T X; `parameters` are the ranges to round to.
// `range` finds them anew for a group from its columns as they are by then, [out, group], and their
// importance [group]; asked only without activation_order.
using GroupRange = std::function<GroupParameters(const Tensor& columns, const Tensor& importance)>;
GptqResult gptq(const Tensor& weight, const Tensor& hessian, const GroupParameters& parameters,
                const WeightScheme& scheme, const GptqOptions& options, const GroupRange& range);

// The upper factor U of inverse(H + damping mean(diag H)) = U^T U, in double; the damping rises
// tenfold until H is positive definite, and `damping` says what was used. H is finite.
Tensor inverse_factor(const Tensor& hessian, double& damping);

BlockPass solve_pass(const SolveSpec& spec, RangeMethod range);

}  // namespace lowbit
