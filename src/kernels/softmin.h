// Log-sum-exp over the rows or columns of a similarity matrix: the inner loops of Sinkhorn's
// algorithm between unit vectors (FRM-PTQ, structure loss; frm sheet: "Sinkhorn procedure
// exactly").
//
// With costs C = 1 - M (half the squared distance of unit vectors whose products are M):
//   softmin_i = -epsilon * log sum_j exp(h_j - C_ij / epsilon)
//
// Serial; the caller cuts rows or columns over threads, results do not depend on the cut.
// Exponentials are within 2e-7 relative of exp. One source, compiled for AVX-512, AVX2 and SSE2 and
// chosen at run time by the loader. The reference is calib's version in tensor operations; tests
// compare them.
#pragma once

#include <cstdint>

namespace lowbit {

// A square matrix of similarities, row major.
struct SimilarityView {
  const float* data = nullptr;  // [size, size]
  std::int64_t size = 0;
};

// out[i] for rows i in [begin, end).
void softmin_rows(SimilarityView m, std::int64_t begin, std::int64_t end,
                  const float* h,  // [size]
                  float epsilon,
                  float* out);  // [size]

// out[j] for columns j in [begin, end): the rows' sums of the transposed matrix.
void softmin_columns(SimilarityView m, std::int64_t begin, std::int64_t end,
                     const float* h,  // [size]
                     float epsilon,
                     float* out);  // [size]

// p[i][j] = scale * softmax_j(h_j - C_ij / epsilon) for rows i in [begin, end); p is [size, size].
void softmax_rows(SimilarityView m, std::int64_t begin, std::int64_t end, const float* h,
                  float epsilon, float scale, float* p);

}  // namespace lowbit
