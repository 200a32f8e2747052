// clip: the share of dynamic activation ranges that gets codes. Values with thin tails, as a
// rotation leaves them, lose less with finer steps than they do at the few that are clipped.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// Of 1, 0.95, ... 0.6 the ratio (of a static scheme's scale, of a dynamic one's ranges) of least
// |(x - q(x)) W^T|^2, the larger of equals; 1 where x [tokens, in] is not finite. x as the product
// takes it, transformed but not quantized; `weight` [out, in] in that basis; the scheme's own clip
// is not looked at.
double search_clip(const Tensor& x, const Tensor& weight, const ActivationScheme& scheme);

// Searches one ratio for each input, over the outputs of all linears that share it.
BlockPass clip_pass();

}  // namespace lowbit
