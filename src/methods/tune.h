// tune.end-to-end: codes and zero points fixed, the scales of all linears and the gains of the
// blocks' norms are trained together so that the packed model predicts what the source predicts:
// E2E-QP (efficientqat sheet, phase 2; Chen et al., arXiv 2407.11062) with the divergence to the
// source in the place of the text's own tokens.
//
// A step goes through the model block by block, forwards and, each block's forward pass repeated,
// backwards: the weights of one block are decoded at a time, and of the others only inputs are
// kept. With a rate for weights the codes are trained too, straight through the rounding; five
// values in float32 of every weight of the model are then in memory at once. The result is the
// start or what lies at a share of the way from it to the best epoch, whichever validates best; one
// whose gain the validation windows do not tell from chance does not count.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

ModelPass tune_pass(const TuneSpec& spec);

}  // namespace lowbit
