#include "methods/range.h"

namespace lowbit {
namespace {

// Far below any real weight's scale, and exact in bfloat16: only groups of zeros get it.
constexpr double kSmallestScale = 0x1p-40;

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
            .zero = at::full_like(reach, levels / 2)};
  }
  const Tensor scale = ((ends.high - ends.low) / (levels - 1)).clamp_min(kSmallestScale);
  return {.scale = scale, .zero = (-ends.low / scale).round()};
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

BlockPass range_pass(RangeMethod method) {
  return [method](BlockTask& task) -> Status {
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      const WeightScheme& scheme = task.linears[i].scheme.weight;
      if (!scheme.quantized()) continue;
      const Tensor& weight = task.block.weight(i);
      task.parameters[i] = method == RangeMethod::min_max ? min_max_range(weight, scheme)
                                                          : mse_search_range(weight, scheme);
    }
    return {};
  };
}

}  // namespace lowbit
