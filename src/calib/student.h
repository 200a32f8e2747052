// The student: a block whose linears use quantized weights and quantized inputs.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "calib/block.h"
#include "calib/fake_quant.h"
#include "recipe/plan.h"

namespace lowbit {

enum class Precision { float32, bfloat16 };  // of the matrix products; sums are float32 in both

// Sees the input of linears that share it, as their products take it. False ends the forward pass.
using InputVisitor = std::function<bool(std::span<const std::size_t> linears, const Tensor& x)>;

// Makes of a linear's input what its product takes, in the place of its scheme's transform and
// quantization, for a pass that learns them.
using InputTaker = std::function<Tensor(std::size_t linear, const Tensor& x)>;

// Products with `weights` (one for each linear, in BlockSpec::linears() order, already dequantized;
// bfloat16 for that precision) on inputs turned and quantized as each linear's scheme says (or
// as `take` does it, before there are low-rank pairs), and those with the linears' pairs, where
// they are known. Linears that share an input and a scheme share its quantization. Gradients
// flow to inputs and weights. `weights` and `linears` must outlive the result.
TorchBlock::Products student_products(const TorchBlock& block,
                                      std::span<const PlannedLinear> linears,
                                      const std::vector<Tensor>& weights, Precision precision,
                                      const InputVisitor& visit = {}, const InputTaker& take = {});

}  // namespace lowbit
