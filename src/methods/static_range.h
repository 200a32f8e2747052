// static ranges: one scale for all values of a linear's input, known before it runs; of nvfp4
// inputs the one that their dynamic scales are divided by.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// s = max|x| / (2^(b-1) - 1/2), within [1e-5, 1e4]: the grid of quantize_activations over all
// tokens. Of nvfp4 the global scale, 448 * 6 / max|x|.
float static_scale(double largest, const ActivationScheme& scheme);

// Gives the linears whose scheme stores a scale that of the largest value that the training windows
// show, times the scheme's clip, which becomes 1. Linears that share an input share it.
BlockPass static_range_pass();

}  // namespace lowbit
