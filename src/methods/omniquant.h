// smooth.omniquant's training: OmniQuant's learnable equivalent transformation (Shao et al., ICLR
// 2024), a scale and where it has biases a shift of each channel, in all places of a block at once,
// by the error of its output (methods/learned_transform.h).
//
// The logarithms of the scales are trained, and the shifts in units of their channels' largest
// inputs, so that all steps are relative. Training sees the basis of the inputs' transforms that
// the plan has. What goes into the rows that make an input is left at that input until the end: it
// passes through their rounding unchanged. Between q and k, which are not quantized here, there is
// no scale.
#pragma once

#include "methods/place.h"

namespace lowbit {

struct LearnedPlace {
  Place place;
  Tensor largest;  // [channels], of its input as it is now
  bool shifts = false;
};

Status learn_places(BlockTask& task, const TransformTraining& training,
                    const std::vector<LearnedPlace>& places);

}  // namespace lowbit
