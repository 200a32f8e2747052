// rotate.kronecker: learns the transform of every input, an orthogonal L ⊗ R (FlatQuant, Liu et
// al., ICML 2025, whose factors are free; SpinQuant's rotations are orthogonal and dense). It
// begins at Hadamard matrices and is trained so that the block's output, with the weights rounded
// to nearest in their ranges and the inputs quantized as their schemes say, matches the teacher's.
//
// A factor is Cayley(A) H with A free, 0 at the start: it stays orthogonal, so that a weight takes
// the same factors as its input. Squared error over that of the change of the stream by the block;
// gradients go straight through the rounding, and through the ends of the ranges, which are what a
// transform can make smaller. AdamW without decay, cosine to 0. What is learned is rounded to
// float16 before the last measurement; where that is no better than the start, the start stays.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// (I + K)^-1 (I - K), K = A - A^T: orthogonal for every square A; differentiable.
Tensor cayley(const Tensor& a);

// Chooses factors; the rotate pass, after it, turns the weights.
BlockPass kronecker_pass(const RotateSpec& spec);

}  // namespace lowbit
