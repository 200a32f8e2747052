// compensate.bias: what rounding did to the mean of a linear's outputs, taken from its bias
// (empirical bias correction: Nagel et al., arXiv 1906.04721, section 4.2). Linears without a bias
// stay as they are: a model's description has no place for another.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// b + mean(W x) - mean(W' x'): x on the float stream through the float block, x' what the packed
// linear gets, quantized where its scheme says so; on the first 32 windows. Set of linears by set,
// as corrections of one change the inputs of the next.
//
// Two passes, around those that round: the first measures the float block. The task has
// teacher_inputs. Errors: "quantize/non-finite".
struct BiasCorrection {
  BlockPass measure, correct;
};
BiasCorrection bias_correction();

}  // namespace lowbit
