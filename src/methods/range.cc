#include "methods/range.h"

#include <ATen/Parallel.h>

#include "kernels/range_search.h"
#include "methods/inputs.h"

namespace lowbit {
namespace {

// Far below any real weight's scale, and exact in bfloat16: only groups of zeros get it.
constexpr double kSmallestScale = 0x1p-40;

// How far a range is worth shrinking: the fewer the codes, the more is clipped for finer steps.
float smallest_share(int bits) {
  if (bits == 2) return 0.29F;
  return bits == 3 ? 0.41F : 0.61F;
}

struct Ends {
  Tensor low, high;  // [out, groups], low <= 0 <= high
};

Ends ends_of(const Tensor& weight, const WeightScheme& scheme) {
  const std::int64_t group = scheme.group_size == 0 ? weight.size(1) : scheme.group_size;
  const Tensor groups = weight.view({weight.size(0), -1, group});
  return {.low = groups.amin(2).clamp_max(0.0), .high = groups.amax(2).clamp_min(0.0)};
}

GroupParameters grid_of(const Ends& ends, const WeightScheme& scheme) {
  const double levels = 1 << scheme.bits;
  if (scheme.symmetric) {
    const Tensor reach = at::maximum(ends.high, -ends.low);
    return {.scale = (reach / ((levels - 1) / 2)).clamp_min(kSmallestScale),
            .zero = at::full_like(reach, levels / 2),
            .centered = {}};
  }
  const Tensor scale = ((ends.high - ends.low) / (levels - 1)).clamp_min(kSmallestScale);
  return {.scale = scale, .zero = (-ends.low / scale).round(), .centered = {}};
}

}  // namespace

GroupParameters min_max_range(const Tensor& weight, const WeightScheme& scheme) {
  return grid_of(ends_of(weight, scheme), scheme);
}

GroupParameters mse_search_range(const Tensor& weight, const WeightScheme& scheme) {
  constexpr int kSteps = 80;
  constexpr double kPower = 2.4;
  const Ends ends = ends_of(weight, scheme);
  GroupParameters best = grid_of(ends, scheme);
  Tensor lowest;
  for (int step = 0; step < kSteps; ++step) {
    const double shrink = 1.0 - step / 100.0;
    const GroupParameters candidate =
        grid_of({.low = ends.low * shrink, .high = ends.high * shrink}, scheme);
    const Tensor error = (fake_quant_weight(weight, candidate, scheme) - weight)
                             .abs()
                             .pow(kPower)
                             .view({weight.size(0), ends.low.size(1), -1})
                             .sum(2);
    if (!lowest.defined()) {
      lowest = error;
      continue;
    }
    const Tensor better = error.lt(lowest);
    lowest = at::where(better, error, lowest);
    best.scale = at::where(better, candidate.scale, best.scale);
    best.zero = at::where(better, candidate.zero, best.zero);
  }
  return best;
}

GroupParameters importance_search_range(const Tensor& weight, const WeightScheme& scheme,
                                        const Tensor& importance) {
  GroupParameters best = min_max_range(weight, scheme);
  const Tensor values = weight.to(at::kCPU).contiguous();
  const Tensor weights_of_inputs = importance.to(at::kCPU).contiguous();
  Tensor scale = best.scale.to(at::kCPU).contiguous();
  Tensor zero = best.zero.to(at::kCPU).contiguous();
  const std::int64_t groups = scale.size(1);
  const RangeSearch how{.groups = {.group_size = weight.size(1) / groups, .bits = scheme.bits},
                        .groups_per_row = groups,
                        .smallest_share = smallest_share(scheme.bits),
                        .zero_reach = scheme.symmetric ? 0 : 1};
  at::parallel_for(0, scale.numel(), 16, [&](std::int64_t begin, std::int64_t end) {
    search_range(how, begin, end, values.data_ptr<float>(), weights_of_inputs.data_ptr<float>(),
                 scale.data_ptr<float>(), zero.data_ptr<float>());
  });
  best.scale = scale.to(weight.device());
  best.zero = zero.to(weight.device());
  return best;
}

GroupParameters squared_error_range(const Tensor& weight, const WeightScheme& scheme) {
  return importance_search_range(weight, scheme, at::ones({weight.size(1)}, at::kFloat));
}

namespace {

// Mean square of every input of every linear, from the float weights on the student's stream.
std::vector<Tensor> input_powers(const BlockTask& task) {
  constexpr std::int64_t kWindows = 16;
  std::vector<Tensor> sums(task.linears.size());
  measure_inputs(
      task, float_query(task, kWindows, Basis::turned),
      [](const Tensor& x) { return Measured{x.square().mean(0)}; },
      [&](std::span<const std::size_t> alike, const Measured& power) {
        for (const std::size_t linear : alike) {
          sums[linear] = sums[linear].defined() ? sums[linear] + power[0] : power[0];
        }
      });
  return sums;
}

}  // namespace

GroupParameters choose_range(RangeMethod method, const Tensor& weight, const WeightScheme& scheme,
                             const Tensor& importance) {
  switch (method) {
    case RangeMethod::mse_search:
      return mse_search_range(weight, scheme);
    case RangeMethod::importance_search:
      return importance_search_range(weight, scheme, importance);
    case RangeMethod::min_max:
      break;
  }
  return min_max_range(weight, scheme);
}

BlockPass range_pass(RangeMethod method) {
  return [method](BlockTask& task) -> Status {
    std::vector<Tensor> importance(task.linears.size());
    if (method == RangeMethod::importance_search) importance = input_powers(task);
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      const WeightScheme& scheme = task.linears[i].scheme.weight;
      if (!scheme.quantized()) continue;
      task.parameters[i] = choose_range(method, task.student.weight(i), scheme, importance[i]);
    }
    return {};
  };
}

}  // namespace lowbit
