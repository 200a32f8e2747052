// smooth: each channel of a linear's input is divided by a scale, and the linear's column
// multiplied by it, so that what is hard to quantize moves between the two. The division goes into
// what made the input: the gain of a norm, or the rows of the linear before (methods/place.h). The
// block's function is unchanged.
//
// FPTQ (Li et al., arXiv 2308.15987): s = max|x| / log2(2 + max|x|), where the largest input of all
// channels lies between two thresholds. Below them nothing is done; there and between them the
// linears get static ranges, above them dynamic ones of each token. Inputs that nothing can be
// divided in stay dynamic in the place of equalised.
// SmoothQuant (Xiao et al., ICML 2023): s = max|x|^alpha / max|w|^(1 - alpha).
// AWQ (Lin et al., MLSys 2024): s = mean|x|^alpha, the alpha of 0, 0.05, ... 0.95 that loses least;
// here what is lost is the squared error of the linears' outputs on a sample of tokens, with
// weights and inputs quantized as the scheme says.
// OmniQuant (Shao et al., ICLR 2024): from AWQ's scales on, the scales of a block are trained by
// the error of its output (methods/omniquant.h); its authors begin at SmoothQuant's. Where inputs
// are quantized, and what makes them and all that take them have biases (OPT), so is a shift, from
// the middle of each channel's range.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// s = max(a^alpha / w^(1 - alpha), 1e-5), w at least 1e-5; a and w [channels]. Where no input ever
// came (a = 0) it is 1.
Tensor smoothquant_scale(const Tensor& largest_input, const Tensor& largest_weight, double alpha);

// s = max(a^alpha, 1e-4) over sqrt(max s min s); 1 where a = 0.
Tensor awq_scale(const Tensor& mean_input, double alpha);

// s = a / log2(2 + a); 1 where a = 0.
Tensor fptq_scale(const Tensor& largest_input);

BlockPass smooth_pass(const SmoothSpec& spec, RangeMethod range);

}  // namespace lowbit
