// GPTQ (gptq sheet; Frantar et al., arXiv 2210.17323): columns are rounded one after the other, and
// each one's error is made up for by those that follow, through the inverse of H. Two extensions of
// the same sweep (gptaq-foem sheet), both off by default, when the result is GPTQ's to the bit:
//   GPTAQ (Li et al., arXiv 2504.02692): the target is the float layer on the float stream's
//   inputs, not on the student's.
//   FOEM (Zheng et al., arXiv 2507.11017): columns that made up for others are drawn back to where
//   they began, by a share that stands for the first-order term of the loss; GPTQModel's form.
#pragma once

#include <functional>

#include "methods/ordered_layer.h"

namespace lowbit {

struct GptqOptions {
  double damping = 0.01;  // of the mean of H's diagonal
  bool activation_order = true;
  double asymmetry = 0;     // GPTAQ's alpha, 0..1; needs InputStatistics::drift where it is above 0
  double first_order = 0;   // FOEM's beta, 0..1
  std::int64_t polish = 0;  // passes of coordinate descent after it (coordinate_descent.h)
  std::int64_t run_columns = 128;  // swept between two corrections of all the rest: speed alone
};

struct SolvedWeight {
  Tensor weight;               // [out, in]: as it was just before it was rounded
  GroupParameters parameters;  // those given, but without activation_order found anew
  double damping = 0;          // what it took for H to be positive definite
};

// `parameters` are the ranges to round to. `range` finds them anew for a group from its columns as
// they are by then, [out, group], and their importance [group]; asked only without
// activation_order. Inputs are finite.
using GroupRange = std::function<GroupParameters(const Tensor& columns, const Tensor& importance)>;
SolvedWeight gptq(const Tensor& weight, const InputStatistics& inputs,
                  const GroupParameters& parameters, const WeightScheme& scheme,
                  const GptqOptions& options, const GroupRange& range);

// The upper factor U of inverse(H + damping mean(diag H)) = U^T U, in double; the damping rises
// tenfold until H is positive definite, and `damping` says what was used. H is finite.
Tensor inverse_factor(const Tensor& hessian, double& damping);

// GPTAQ's P = alpha [(D U^T) above its diagonal] U, [in, in], strictly upper, in double. Without
// "above its diagonal" and at alpha 1, W P is the least-squares correction W D inverse(H).
Tensor drift_pull(const Tensor& drift, const Tensor& upper, double asymmetry);

}  // namespace lowbit
