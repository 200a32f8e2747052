#include "methods/refit.h"

namespace lowbit {
namespace {

constexpr std::int64_t kRows = 512;    // whose equations exist at a time
constexpr double kRidge = 1e-6;        // towards the scales before: a group may have no codes
constexpr double kLargestChange = 10;  // of a scale

// The quadratic s^T a s - 2 b^T s of each row.
struct Equations {
  Tensor a, b;  // [rows, groups, groups], [rows, groups], double
};

Tensor by_group(const Tensor& values, std::int64_t groups) {
  return values.view({values.size(0), groups, -1});
}

Equations equations_of(const Tensor& centered, const Tensor& target, const Tensor& hessian,
                       std::int64_t groups) {
  const std::int64_t rows = centered.size(0);
  const std::int64_t size = centered.size(1) / groups;
  Equations found{.a = at::empty({rows, groups, groups}, at::kDouble),
                  .b = by_group(target * centered, groups).sum(2, false, at::kDouble)};
  for (std::int64_t g = 0; g < groups; ++g) {
    const Tensor seen = centered.slice(1, g * size, (g + 1) * size)
                            .matmul(hessian.slice(0, g * size, (g + 1) * size));
    found.a.select(1, g).copy_(by_group(seen * centered, groups).sum(2, false, at::kDouble));
  }
  return found;
}

Tensor loss_of(const Equations& of, const Tensor& scale) {
  const Tensor seen = of.a.matmul(scale.unsqueeze(2)).squeeze(2);
  return (scale * (seen - 2 * of.b)).sum(1);
}

Tensor solved_or_before(const Equations& of, const Tensor& before) {
  const Tensor ridge = of.a.diagonal(0, 1, 2).mean(1, true).clamp_min(1e-30) * kRidge;
  Tensor a = of.a.clone();
  a.diagonal(0, 1, 2).add_(ridge);
  const Tensor scale = at::linalg_solve(a, (of.b + ridge * before).unsqueeze(2)).squeeze(2);
  const Tensor change = scale / before;
  const Tensor within = change.gt(1 / kLargestChange).logical_and(change.lt(kLargestChange)).all(1);
  const Tensor better = loss_of(of, scale).lt(loss_of(of, before)).logical_and(within);
  return at::where(better.unsqueeze(1), scale, before);
}

}  // namespace

Tensor refit_scales(const OrderedLayer& layer, const Tensor& solved,
                    const GroupParameters& parameters, const WeightScheme& scheme,
                    const RefitOptions& options) {
  CHECK(options.asymmetry == 0 || layer.drift.defined());
  const std::int64_t groups = parameters.scale.size(1);
  Tensor h = layer.hessian.clone();
  h.diagonal().add_(options.damping * h.diagonal().mean());
  const Tensor hessian = h.to(at::kFloat);
  Tensor target = layer.weight.matmul(hessian);
  if (options.asymmetry > 0) {
    target += layer.weight.matmul((layer.drift * options.asymmetry).to(at::kFloat));
  }
  const Tensor centered =
      freeze_codes(solved, parameters, scheme).centered.to(at::kCPU).contiguous();
  const Tensor before = parameters.scale.to(at::kCPU, at::kDouble);
  std::vector<Tensor> scales;
  for (std::int64_t row = 0; row < centered.size(0); row += kRows) {
    const auto rows = [&](const Tensor& all) { return all.slice(0, row, row + kRows); };
    const Equations equations = equations_of(rows(centered), rows(target), hessian, groups);
    scales.push_back(solved_or_before(equations, rows(before)));
  }
  return at::cat(scales).to(parameters.scale.options());
}

}  // namespace lowbit
