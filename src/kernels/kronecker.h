// Kronecker-factored transforms of rows: x as a matrix X [left, right] becomes Lᵀ X R, which is
// x (L ⊗ R) in left + right products a value where the dense matrix takes left times right.
//
// Each row is worked on by itself: the same bits for every number of rows and threads.
#pragma once

#include <memory>
#include <span>

#include "format/scheme.h"

namespace lowbit {

// In place; each row has size.left * size.right values.
void kronecker_rows(std::span<float> rows, const KroneckerFactors& factors);
// The dense product, in double: what the above is tested against.
void kronecker_rows_reference(std::span<float> rows, const KroneckerFactors& factors);

// left * right = in, both at least 2 and as near to each other as may be; of such splits one for
// which there are Hadamard matrices of both sizes, where there is any. Right has the more factors
// of two. None where `in` is prime.
KroneckerSize kronecker_size(std::int64_t in);

// H_left / sqrt(left) and H_right / sqrt(right), rounded to float16; in blocks where there is no
// matrix of the size (hadamard_size).
std::shared_ptr<const KroneckerFactors> hadamard_factors(KroneckerSize size);

}  // namespace lowbit
