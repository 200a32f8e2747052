// compensate.low-rank: two thin matrices for what rounding did to a weight (LoRC: Yao et al., arXiv
// 2303.08302), by the inputs that its columns get (LQER: Zhang et al., 2402.02446; EoRA: Liu et
// al., 2410.21271) or, as in the first, all columns alike. methods/solve.h does it for a block.
#pragma once

#include "calib/tensor.h"
#include "format/scheme.h"

namespace lowbit {

struct FittedPair {
  LowRankPair pair;
  Tensor product;     // [out, in], float32: L R
  double before = 0;  // |E S|^2
  double after = 0;   // |(E - L R) S|^2
};

// The L R of rank `rank` that takes most of |E S|^2 away from E [out, in], but for the rounding of
// both to float16: U sqrt(sigma) and sqrt(sigma) V^T inverse(S), from the SVD of E S; each column
// of L has the norm of R's row. S S^T = H is given by `upper`, the U of inverse(H) = U^T U
// (inverse_factor, methods/gptq.h) in double; undefined: H is the identity. On the CPU.
FittedPair fit_low_rank(const Tensor& error, const Tensor& upper, std::int64_t rank);

}  // namespace lowbit
