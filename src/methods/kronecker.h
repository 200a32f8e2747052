// rotate.kronecker: learns the transform of every input, an orthogonal L ⊗ R (FlatQuant, Liu et
// al., ICML 2025, whose factors are free; SpinQuant's rotations are orthogonal and dense). It
// begins at Hadamard matrices and is trained by the error of the block's output
// (methods/learned_transform.h).
//
// A factor is Cayley(A) H with A free, 0 at the start: it stays orthogonal, so that a weight takes
// the same factors as its input. It is stored, and measured, in float16.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// (I + K)^-1 (I - K), K = A - A^T: orthogonal for every square A; differentiable.
Tensor cayley(const Tensor& a);

// Chooses factors; the rotate pass, after it, turns the weights.
BlockPass kronecker_pass(const RotateSpec& spec);

}  // namespace lowbit
