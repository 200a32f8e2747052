#include "calib/turn.h"

#include "kernels/hadamard.h"

namespace lowbit {
namespace {

enum class Way { forward, back };

Tensor on_cpu(const Tensor& x, std::int64_t n, Way way) {
  Tensor rows = x.to(at::kFloat).contiguous().clone();
  const std::span<float> values(rows.data_ptr<float>(), static_cast<std::size_t>(rows.numel()));
  way == Way::forward ? hadamard_rows(values, n) : hadamard_rows_transposed(values, n);
  return rows;
}

// Elsewhere a product with the matrix, which is the identity turned on the CPU.
Tensor turn(const Tensor& x, std::int64_t n, Way way) {
  if (x.is_cpu()) return on_cpu(x, n, way);
  const Tensor matrix = on_cpu(at::eye(n), n, way).to(x.device());
  return x.reshape({-1, n}).matmul(matrix).view_as(x);
}

class Turn : public torch::autograd::Function<Turn> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        std::int64_t n) {
    context->saved_data["n"] = n;
    return turn(x, n, Way::forward);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list upstream) {
    return {turn(upstream[0], context->saved_data["n"].toInt(), Way::back), Tensor()};
  }
};

}  // namespace

Tensor turned(const Tensor& x, const InputTransform& transform) {
  if (!transform.any()) return x;
  if (at::GradMode::is_enabled() && x.requires_grad()) return Turn::apply(x, transform.hadamard);
  return turn(x, transform.hadamard, Way::forward);
}

}  // namespace lowbit
