#include "methods/gptq.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "methods/coordinate_descent.h"

namespace lowbit {
namespace {

// The sweep over one layer. `upper` and `pull` (undefined: none) are float32, [in, in].
class Sweep {
 public:
  Sweep(const OrderedLayer& layer, const WeightScheme& scheme, const GptqOptions& options,
        const Tensor& upper, const Tensor& pull)
      : layer_(layer), scheme_(scheme), options_(options), upper_(upper), pull_(pull) {
    if (options.first_order > 0) origin_ = layer.weight.clone();
  }

  // The columns first .. first + count, and what those after them have to make up for.
  void run(Tensor& weight, const GroupParameters& p, std::int64_t first, std::int64_t count) {
    const std::int64_t last = first + count;
    const Tensor errors = at::empty({weight.size(0), count}, at::kFloat);
    const ColumnSweep how{
        .run = layer_.run(scheme_, first, count),
        .upper = block_at(upper_, first),
        .pull = pull_.defined() ? block_at(pull_, first) : nullptr,
        .first_order = static_cast<float>(options_.first_order),
        .origin = origin_.defined() ? origin_.data_ptr<float>() + first : nullptr};
    at::parallel_for(0, weight.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
      sweep_columns(how, begin, end, weight.data_ptr<float>() + first, p.scale.data_ptr<float>(),
                    p.zero.data_ptr<float>(), errors.data_ptr<float>());
    });
    if (last == weight.size(1)) return;
    Tensor after = weight.slice(1, last);
    after.sub_(errors.matmul(upper_.slice(0, first, last).slice(1, last)));
    if (!pull_.defined()) return;
    after.add_(weight.slice(1, first, last).matmul(pull_.slice(0, first, last).slice(1, last)));
  }

 private:
  static const float* block_at(const Tensor& square, std::int64_t first) {
    return square.data_ptr<float>() + first * (square.size(1) + 1);
  }

  const OrderedLayer& layer_;
  const WeightScheme& scheme_;
  const GptqOptions& options_;
  Tensor upper_, pull_, origin_;
};

// The ranges of the group that begins at column `first`, found anew from its columns.
void renew_range(GroupParameters& p, const OrderedLayer& layer, std::int64_t first,
                 std::int64_t group, const GroupRange& range) {
  const Tensor importance = layer.hessian.diagonal().slice(0, first, first + group).to(at::kFloat);
  const GroupParameters found =
      range(layer.weight.slice(1, first, first + group).contiguous(), importance);
  p.scale.select(1, first / group).copy_(found.scale.select(1, 0));
  p.zero.select(1, first / group).copy_(found.zero.select(1, 0));
}

}  // namespace

Tensor inverse_factor(const Tensor& hessian, double& damping) {
  const Tensor h = hessian.to(at::kDouble);
  const double mean = h.diagonal().mean().item<double>();
  for (;; damping = damping > 0 ? damping * 10 : 1e-4) {
    Tensor damped = h.clone();
    damped.diagonal().add_(damping * (mean > 0 ? mean : 1.0));
    const auto [lower, failed] = at::linalg_cholesky_ex(damped);
    if (failed.item<int>() != 0) continue;
    const auto [upper, failed_again] = at::linalg_cholesky_ex(at::cholesky_inverse(lower));
    if (failed_again.item<int>() != 0) continue;
    return upper.t();
  }
}

Tensor drift_pull(const Tensor& drift, const Tensor& upper, double asymmetry) {
  return drift.matmul(upper.t()).triu(1).matmul(upper) * asymmetry;
}

SolvedWeight gptq(const Tensor& weight, const InputStatistics& inputs,
                  const GroupParameters& parameters, const WeightScheme& scheme,
                  const GptqOptions& options, const GroupRange& range) {
  CHECK(options.asymmetry == 0 || inputs.drift.defined());
  const std::int64_t in = weight.size(1);
  const std::int64_t group = group_size_of(scheme, in);
  OrderedLayer layer = in_order(
      weight, inputs, scheme,
      options.activation_order ? ColumnOrder::largest_input_first : ColumnOrder::as_stored);
  layer.weight.masked_fill_(layer.dead.unsqueeze(0), 0.0);  // such a weight does not matter
  SolvedWeight result{.weight = {}, .parameters = {}, .damping = options.damping};
  const Tensor upper = inverse_factor(layer.hessian, result.damping);
  const Tensor pull =
      options.asymmetry > 0
          ? drift_pull(layer.drift, upper, options.asymmetry).to(at::kFloat).contiguous()
          : Tensor();
  GroupParameters& p = result.parameters;
  p.scale = parameters.scale.to(at::kCPU).contiguous().clone();
  p.zero = parameters.zero.to(at::kCPU).contiguous().clone();
  p.global_scale = parameters.global_scale;
  const Tensor start = options.polish > 0 ? layer.weight.clone() : Tensor();
  Sweep sweep(layer, scheme, options, upper.to(at::kFloat).contiguous(), pull);
  std::int64_t count = 0;
  for (std::int64_t first = 0; first < in; first += count) {
    count = std::min(options.run_columns, in - first);
    if (!options.activation_order) {  // runs end where groups do
      count = std::min(count, group - first % group);
      if (first % group == 0) renew_range(p, layer, first, group, range);
    }
    sweep.run(layer.weight, p, first, count);
  }
  if (options.polish > 0) {
    const Tensor swept = layer.weight;
    layer.weight = start;
    layer.weight = coordinate_descent(layer, p, scheme,
                                      {.damping = result.damping,
                                       .asymmetry = options.asymmetry,
                                       .passes = options.polish,
                                       .relaxed_passes = false,
                                       .run_columns = options.run_columns},
                                      swept);
  }
  result.weight = layer.weight.index_select(1, layer.order.argsort()).to(weight.device());
  p.scale = p.scale.to(weight.device());
  p.zero = p.zero.to(weight.device());
  return result;
}

}  // namespace lowbit
