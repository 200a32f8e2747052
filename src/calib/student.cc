#include "calib/student.h"

namespace lowbit {

TorchBlock::Products student_products(const TorchBlock& block,
                                      std::span<const PlannedLinear> linears,
                                      const std::vector<Tensor>& weights, Precision precision) {
  CHECK(linears.size() == block.linears() && weights.size() == block.linears());
  return
      [&block, linears, &weights, precision](std::span<const std::size_t> which, const Tensor& x) {
        const auto type = precision == Precision::bfloat16 ? at::kBFloat16 : at::kFloat;
        std::vector<Tensor> outputs;
        ActivationScheme quantized_as;  // 16 bits: x itself
        Tensor input = x.to(type);
        for (const std::size_t linear : which) {
          const ActivationScheme& scheme = linears[linear].scheme.activation;
          if (!(scheme == quantized_as)) {
            input = (scheme.quantized() ? fake_quant_activation(x, scheme) : x).to(type);
            quantized_as = scheme;
          }
          Tensor y = at::matmul(input, weights[linear].t()).to(at::kFloat);
          if (block.bias(linear).defined()) y = y + block.bias(linear);
          outputs.push_back(y);
        }
        return outputs;
      };
}

}  // namespace lowbit
