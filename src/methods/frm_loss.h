// The loss of FRM-PTQ between a student's and a teacher's block output, with its gradient in closed
// form:
//   token_relation * (1 - cos of the centred Gram matrices of unit rows)
// + sinkhorn * (debiased Sinkhorn divergence of the unit rows)
// + mse * (mean squared difference, or that over the teacher's mean square).
// Zeng et al., Neural Networks 2026; equations as in the frm sheet ("Losses").
#pragma once

#include "calib/tensor.h"
#include "methods/sinkhorn.h"
#include "recipe/recipe.h"

namespace lowbit {

struct LossTerms {
  double mse = 0;             // as weighted: raw or normalized
  double relative_mse = 0;    // over the teacher's mean square, always
  double token_relation = 0;  // the two relation terms; 0 when their weight is 0
  double sinkhorn = 0;
  double total = 0;
};

struct FrmLoss {
  LossTerms terms;
  Tensor gradient;  // d total / d student, [tokens, width]; undefined when not asked for
};

inline constexpr double kSinkhornBlur = 0.1;

// student, teacher: [tokens, width], the same float type and device; no gradient is recorded.
// `which` selects the tokens that the relation terms see (undefined: all).
FrmLoss frm_loss(const Tensor& student, const Tensor& teacher, const LearnSpec& spec,
                 WithGradient gradient, const Tensor& which = {});

}  // namespace lowbit
