// The student: a block whose linears use quantized weights and quantized inputs.
#pragma once

#include <span>
#include <vector>

#include "calib/block.h"
#include "calib/fake_quant.h"
#include "recipe/plan.h"

namespace lowbit {

enum class Precision { float32, bfloat16 };  // of the matrix products; sums are float32 in both

// Products with `weights` (one for each linear, in BlockSpec::linears() order, already dequantized;
// bfloat16 for that precision) on inputs quantized as each linear's scheme says. Linears that share
// an input and a scheme share its quantization. Gradients flow to inputs and weights.
TorchBlock::Products student_products(const TorchBlock& block,
                                      std::span<const PlannedLinear> linears,
                                      const std::vector<Tensor>& weights, Precision precision);

}  // namespace lowbit
