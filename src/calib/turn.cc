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

struct Factors {
  Tensor left, right;
};

Factors factors_of(const InputTransform& transform, const at::Device& device) {
  CHECK(transform.factors != nullptr);
  const auto [left, right] = transform.kronecker;
  return {.left = to_tensor(transform.factors->left, {left, left}).to(device),
          .right = to_tensor(transform.factors->right, {right, right}).to(device)};
}

}  // namespace

Tensor kronecker_turned(const Tensor& x, const Tensor& left, const Tensor& right) {
  return x.reshape({-1, left.size(0), right.size(0)})
      .matmul(right)
      .transpose(1, 2)
      .matmul(left)
      .transpose(1, 2)
      .reshape(x.sizes());
}

Tensor turned_weight(const Tensor& weight, const InputTransform& transform) {
  if (!transform.kronecker.any()) return turned(weight, transform);
  const Factors factors = factors_of(transform, weight.device());
  const auto inverse = [](const Tensor& factor) {
    return at::linalg_inv(factor.to(at::kDouble)).t();
  };
  return kronecker_turned(weight.to(at::kDouble), inverse(factors.left), inverse(factors.right))
      .to(at::kFloat);
}

Tensor turned(const Tensor& x, const InputTransform& transform) {
  if (!transform.any()) return x;
  if (transform.kronecker.any()) {
    const Factors factors = factors_of(transform, x.device());
    return kronecker_turned(x, factors.left, factors.right);
  }
  if (at::GradMode::is_enabled() && x.requires_grad()) return Turn::apply(x, transform.hadamard);
  return turn(x, transform.hadamard, Way::forward);
}

}  // namespace lowbit
