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

// An input as the linear takes it before it is coded, and a weight to go with it: in the basis of
// the scheme's input transform.
Tensor turned_input(const Tensor& x, const LinearScheme& scheme);
Tensor turned_weight(const Tensor& weight, const LinearScheme& scheme);

// Products with `weights` (one for each linear, in BlockSpec::linears() order, already dequantized;
// bfloat16 for that precision) on inputs quantized as each linear's scheme says. Linears that share
// an input and a scheme share its quantization. Gradients flow to inputs and weights.
// `weights` and `linears` must outlive the result.
TorchBlock::Products student_products(const TorchBlock& block,
                                      std::span<const PlannedLinear> linears,
                                      const std::vector<Tensor>& weights, Precision precision,
                                      const InputVisitor& visit = {});

}  // namespace lowbit
