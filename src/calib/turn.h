// Rotations of inputs and of the weights that take them (format/scheme.h: InputTransform).
#pragma once

#include "calib/tensor.h"
#include "format/scheme.h"

namespace lowbit {

// Each row of x [rows, width] times the transform's matrix; differentiable. A linear's product
// stays what it was when both its input and its weight are turned.
Tensor turned(const Tensor& x, const InputTransform& transform);
// The same of a linear's weight [out, in]. Learned factors are not orthogonal to the last bit of
// float16: the weight takes the inverse of the stored ones, computed in double.
Tensor turned_weight(const Tensor& weight, const InputTransform& transform);

// Each row of x, as X [left, right], becomes leftᵀ X right; differentiable by all three.
Tensor kronecker_turned(const Tensor& x, const Tensor& left, const Tensor& right);

}  // namespace lowbit
