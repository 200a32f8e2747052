// tune.end-to-end: codes and zero points fixed, the scales of all linears and the gains of the
// blocks' norms are trained together so that the packed model predicts what the source predicts:
// E2E-QP (efficientqat sheet, phase 2; Chen et al., arXiv 2407.11062) with the divergence to the
// source in the place of the text's own tokens.
//
// A step goes through the model block by block, forwards and, each block's forward pass repeated,
// backwards: the weights of one block are decoded at a time, and of the others only inputs are
// kept. With a rate for weights the codes are trained too, straight through the rounding; four
// values in float32 of every weight of the model are then in memory at once. The state of the best
// validation is the result; the start counts as one.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

ModelPass tune_pass(const TuneSpec& spec);

}  // namespace lowbit
