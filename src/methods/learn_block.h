// learn.block: gradients through a block train the scales and zero points of its linears so that
// the student's output matches the teacher's under FRM-PTQ's loss (frm_loss.h). AdamW without
// decay, cosine to 0; straight-through rounding. The weights stay as they are.
// With `frozen_codes` the codes do too: scales alone are trained, with exact gradients.
#pragma once

#include "calib/pipeline.h"
#include "methods/frm_loss.h"

namespace lowbit {

BlockPass learn_pass(const LearnSpec& spec);

}  // namespace lowbit
