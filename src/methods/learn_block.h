// learn.block: gradients through a block train the scales, zero points and weights of its linears
// and the gains of its norms, those that have a rate, so that the student's output matches the
// teacher's under FRM-PTQ's loss (frm_loss.h). AdamW without decay, cosine to 0; straight-through
// rounding. With `frozen_codes` the codes stay: scales are trained with exact gradients.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

BlockPass learn_pass(const LearnSpec& spec);

}  // namespace lowbit
