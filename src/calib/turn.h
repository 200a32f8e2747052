// Rotations of inputs and of the weights that take them (format/scheme.h: InputTransform).
#pragma once

#include "calib/tensor.h"
#include "format/scheme.h"

namespace lowbit {

// Each row of x [rows, width] times the transform's orthogonal matrix; differentiable. A linear's
// product stays what it was when both its input and its weight's rows are turned.
Tensor turned(const Tensor& x, const InputTransform& transform);

}  // namespace lowbit
