// How much each token of the calibration text counts (rsq sheet; Sung et al., RSQ, arXiv
// 2503.01820, AttnCon): by the attention it gets in the block, on the student's stream through the
// block's float weights. As published, range passes do not look at these weights.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// Importance r [tokens] mapped linearly onto [least, 1], then over its mean: weights of mean 1.
// Where all of r is alike, each is 1.
Tensor weights_of_importance(const Tensor& importance, double least);

// (sum w)^2 / sum w^2: as many equal tokens would tell as much. 0 < it <= tokens.
double effective_tokens(const Tensor& weights);

// [tokens] for each of the first `windows` training windows; 0: all. Before any linear is solved.
std::vector<Tensor> attention_weights(const BlockTask& task, std::int64_t windows, double least);

}  // namespace lowbit
