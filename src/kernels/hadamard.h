// Hadamard transforms of rows: x becomes x H_n / sqrt(n), an orthonormal rotation that spreads a
// large value over n of them, before activations are quantized (QuaRot's R4 and its relatives) and
// in a cache of keys. H_n = H_K ⊗ H_{2^m} as in format/hadamard_matrix.h: a fast Walsh transform
// along the inner axis of x as [K, 2^m], then H_K along the outer one.
//
// Each value is the same sum in the same order on every processor and for every number of threads.
#pragma once

#include <cstdint>
#include <span>

#include "format/hadamard_matrix.h"

namespace lowbit {

// In place, each consecutive block of n values; n divides their number and hadamard_factor(n) is
// not 0. The second is the inverse: x H_nᵀ / sqrt(n), the same where n is a power of two.
void hadamard_rows(std::span<float> rows, std::int64_t n);
void hadamard_rows_transposed(std::span<float> rows, std::int64_t n);

}  // namespace lowbit
