#include "methods/low_rank.h"

namespace lowbit {
namespace {

constexpr double kLargestHalf = 65504;

Tensor in_half(const Tensor& values) {
  return values.clamp(-kLargestHalf, kLargestHalf).to(at::kHalf).to(at::kDouble);
}

}  // namespace

FittedPair fit_low_rank(const Tensor& error, const Tensor& upper, std::int64_t rank) {
  const Tensor e = error.to(at::kCPU, at::kDouble);
  const auto weighted = [&](const Tensor& matrix) {  // S = inverse(U)
    return upper.defined() ? at::linalg_solve_triangular(upper, matrix, true, false) : matrix;
  };
  const Tensor target = weighted(e);
  const auto [u, sigma, v] = at::linalg_svd(target, false);
  const Tensor root = sigma.slice(0, 0, rank).sqrt();
  Tensor left = u.slice(1, 0, rank) * root;
  Tensor right = root.unsqueeze(1) * v.slice(0, 0, rank);
  if (upper.defined()) right = right.matmul(upper);
  const Tensor ratio = (right.norm(2, 1) / left.norm(2, 0)).sqrt();
  const Tensor balance = at::where(ratio.isfinite() & ratio.gt(0), ratio, at::ones_like(ratio));
  left = in_half(left * balance);
  right = in_half(right / balance.unsqueeze(1));
  const Tensor product = left.matmul(right);
  return {.pair = {.left = to_floats(left), .right = to_floats(right)},
          .product = product.to(at::kFloat),
          .before = target.square().sum().item<double>(),
          .after = weighted(e - product).square().sum().item<double>()};
}

}  // namespace lowbit
