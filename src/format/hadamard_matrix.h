// The Hadamard matrices that a stored input transform may mean: entries ±1, H Hᵀ = n I.
//
// H_n = H_K ⊗ H_{2^m}: the right factor is Sylvester's, the left one has the smallest order K that
// one of these gives, tried in this order; docs/formats/packed-checkpoint.md has their definition.
//   Paley I      K = q + 1,   q a prime power, 3 modulo 4
//   Paley II     K = 2q + 2,  q a prime power, 1 modulo 4
//   Williamson   K = 116, 156, 172
// What a matrix is may never change: weights multiplied by it lie in checkpoints.
#pragma once

#include <cstdint>
#include <vector>

namespace lowbit {

inline constexpr std::int64_t kLargestHadamardFactor = 1024;  // of K: work a value grows with it

// K of n = K 2^m: 1 for a power of two, 0 where no matrix of order n is known here.
std::int64_t hadamard_factor(std::int64_t n);

// The largest divisor of `width` for which there is a matrix, `width` itself where it has one; at
// least 1. A row is transformed in blocks of that size: I ⊗ H_n.
std::int64_t hadamard_size(std::int64_t width);

// H_K by rows, [K, K], for a K that hadamard_factor returns.
std::vector<std::int8_t> hadamard_factor_matrix(std::int64_t factor);

}  // namespace lowbit
