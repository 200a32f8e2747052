// rotate.hadamard: every linear's weight in the basis of its input transform, a Hadamard matrix
// that spreads outliers over all channels; the run time turns the input (QuaRot, Ashkboos et al.,
// NeurIPS 2024; here at every input, so that norms keep their gains and any family is served).
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

BlockPass rotate_pass();

}  // namespace lowbit
