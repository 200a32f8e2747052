#include "calib/student.h"

#include "calib/turn.h"

namespace lowbit {
namespace {

// How many of the linears from the first on take their input alike.
std::size_t alike(std::span<const PlannedLinear> linears, std::span<const std::size_t> which) {
  std::size_t count = 1;
  const LinearScheme& first = linears[which[0]].scheme;
  const auto same = [&](const LinearScheme& other) {
    return other.activation == first.activation && other.transform == first.transform;
  };
  while (count < which.size() && same(linears[which[count]].scheme)) ++count;
  return count;
}

// (x Rᵀ) Lᵀ
Tensor low_rank_product(const LowRank& low_rank, const Tensor& x) {
  const auto matrix = [&](const std::vector<float>& values, std::int64_t rows) {
    return to_tensor(values, {rows, std::ssize(values) / rows}).to(x.device());
  };
  const std::int64_t out = std::ssize(low_rank.pair->left) / low_rank.rank;
  return at::matmul(at::matmul(x, matrix(low_rank.pair->right, low_rank.rank).t()),
                    matrix(low_rank.pair->left, out).t());
}

}  // namespace

TorchBlock::Products student_products(const TorchBlock& block,
                                      std::span<const PlannedLinear> linears,
                                      const std::vector<Tensor>& weights, Precision precision,
                                      const InputVisitor& visit, const InputTaker& take) {
  CHECK(linears.size() == block.linears() && weights.size() == block.linears());
  return [&block, linears, &weights, precision, visit, take](std::span<const std::size_t> which,
                                                             const Tensor& x) {
    const auto type = precision == Precision::bfloat16 ? at::kBFloat16 : at::kFloat;
    std::vector<Tensor> outputs;
    while (!which.empty()) {
      const auto together = which.first(alike(linears, which));
      which = which.subspan(together.size());
      const LinearScheme& scheme = linears[together[0]].scheme;
      const Tensor rows = take ? Tensor() : turned(x, scheme.transform);
      const Tensor input = take ? take(together[0], x)
                           : scheme.activation.quantized()
                               ? fake_quant_activation(rows, scheme.activation)
                               : rows;
      if (visit && !visit(together, input)) return std::vector<Tensor>();
      for (const std::size_t linear : together) {
        Tensor y = at::matmul(input.to(type), weights[linear].t()).to(at::kFloat);
        if (block.bias(linear).defined()) y = y + block.bias(linear);
        const LowRank& low_rank = linears[linear].scheme.low_rank;
        if (low_rank.pair) y = y + low_rank_product(low_rank, rows);
        outputs.push_back(y);
      }
    }
    return outputs;
  };
}

}  // namespace lowbit
