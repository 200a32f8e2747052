#include "methods/range.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <limits>

#include "format/value_grid.h"
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

// The smallest powers of two that are not below these positive numbers, by their exponents: a
// logarithm is off by one near a power.
Tensor power_of_two_from(const Tensor& numbers) {
  const auto [mantissa, exponent] = at::frexp(numbers);  // 0.5 <= mantissa < 1
  return at::where(mantissa.eq(0.5), numbers, numbers / mantissa);
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
  return {.scale = scale, .zero = straight_round(-ends.low / scale), .centered = {}};
}

// [out, in] as [out, groups, group].
Tensor by_group(const Tensor& values, const Tensor& groups) {
  return values.view({groups.size(0), groups.size(1), -1});
}

// Of several grids, for each group the first of those with the least error.
struct BestGrid {
  GroupParameters grid = {};
  Tensor error = {};  // [out, groups]

  void offer(const GroupParameters& candidate, const Tensor& its_error) {
    if (!error.defined()) {
      grid = candidate;
      error = its_error;
      return;
    }
    const Tensor better = its_error.lt(error);
    error = at::where(better, its_error, error);
    grid.scale = at::where(better, candidate.scale, grid.scale);
    grid.zero = at::where(better, candidate.zero, grid.zero);
  }
};

// sum |w' - w|^power of each group.
Tensor error_of(const Tensor& weight, const GroupParameters& grid, const WeightScheme& scheme,
                double power) {
  const Tensor error = (fake_quant_weight(weight, grid, scheme) - weight).abs().pow(power);
  return by_group(error, grid.scale).sum(2);
}

// The value that leaves a share of its group outside, between neighbours in proportion; of the
// outermost values of groups of `size`, the outermost first, [out, groups, some].
Tensor percentile_of(const Tensor& outermost, double share, std::int64_t size) {
  const double place = share * static_cast<double>(size - 1);
  const auto outer = static_cast<std::int64_t>(place);
  const Tensor from = outermost.select(2, outer);
  const Tensor to = outermost.select(2, std::min(outer + 1, size - 1));
  return from + (to - from) * (place - static_cast<double>(outer));
}

// What `range` gives for runs of rows, one after another: its intermediate values are several times
// as large as what it looks at.
template <typename Range>
GroupParameters in_runs(const Tensor& weight, const Range& range) {
  constexpr std::int64_t kRunValues = std::int64_t{1} << 20;
  const std::int64_t run = std::max<std::int64_t>(1, kRunValues / weight.size(1));
  std::vector<Tensor> scales, zeros;
  for (const Tensor& rows : weight.split(run)) {
    const GroupParameters found = range(rows);
    scales.push_back(found.scale);
    zeros.push_back(found.zero);
  }
  return {.scale = at::cat(scales), .zero = at::cat(zeros)};
}

GroupParameters mse_search_range_of_run(const Tensor& weight, const WeightScheme& scheme) {
  constexpr int kSteps = 80;
  constexpr double kPower = 2.4;
  const Ends ends = ends_of(weight, scheme);
  BestGrid best;
  for (int step = 0; step < kSteps; ++step) {
    const double shrink = 1.0 - step / 100.0;
    const GroupParameters candidate =
        grid_of({.low = ends.low * shrink, .high = ends.high * shrink}, scheme);
    best.offer(candidate, error_of(weight, candidate, scheme, kPower));
  }
  return best.grid;
}

GroupParameters percentile_range_of_run(const Tensor& weight, const WeightScheme& scheme) {
  constexpr std::array kOutside = {0.0, 1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 2e-2, 5e-2};
  const Tensor groups = by_group(weight, ends_of(weight, scheme).low);
  const std::int64_t size = groups.size(2);
  const auto farthest = static_cast<std::int64_t>(kOutside.back() * static_cast<double>(size - 1));
  const std::int64_t kept = std::min(size, farthest + 2);
  const Tensor smallest = std::get<0>(groups.topk(kept, 2, /*largest=*/false));
  const Tensor largest = std::get<0>(groups.topk(kept, 2, /*largest=*/true));
  BestGrid best;
  for (const double outside : kOutside) {
    const Ends ends{.low = percentile_of(smallest, outside, size).clamp_max(0.0),
                    .high = percentile_of(largest, outside, size).clamp_min(0.0)};
    const GroupParameters candidate = grid_of(ends, scheme);
    best.offer(candidate, error_of(weight, candidate, scheme, 2.0));
  }
  return best.grid;
}

// The best of what `how` tries around `full`, whose shape says what a group is.
GroupParameters searched(GroupParameters full, const Tensor& weight, const Tensor& importance,
                         RangeSearch how) {
  const Tensor values = weight.to(at::kCPU).contiguous();
  const Tensor weights_of_inputs = importance.to(at::kCPU).contiguous();
  Tensor scale = full.scale.to(at::kCPU).contiguous();
  Tensor zero = full.zero.to(at::kCPU).contiguous();
  how.groups_per_row = scale.size(1);
  how.groups.group_size = weight.size(1) / how.groups_per_row;
  at::parallel_for(0, scale.numel(), 16, [&](std::int64_t begin, std::int64_t end) {
    search_range(how, begin, end, values.data_ptr<float>(), weights_of_inputs.data_ptr<float>(),
                 scale.data_ptr<float>(), zero.data_ptr<float>());
  });
  full.scale = scale.to(weight.device());
  full.zero = zero.to(weight.device());
  return full;
}

// Which neighbours of a value format's full scale are tried, fine enough to meet every one.
RangeSearch neighbours(WeightFormat format, RangeMethod method) {
  const bool all = method != RangeMethod::min_max;
  switch (format) {
    case WeightFormat::mxfp4:
      return {.largest_share = all ? 2.0F : 1.0F, .smallest_share = 0.5F, .step = 0.5F};
    case WeightFormat::nvfp4:
      if (all) return {.largest_share = 1.5F, .smallest_share = 0.6F, .step = 0.03F};
      break;
    case WeightFormat::nf4:
      if (all) return {.smallest_share = 0.7F};
      break;
    case WeightFormat::fp8:
      if (all) return {.smallest_share = 0.5F, .step = 0.02F};  // its grid repeats at a half
      break;
    case WeightFormat::integer:
      break;
  }
  return {.smallest_share = 1};
}

}  // namespace

GroupParameters min_max_range(const Tensor& weight, const WeightScheme& scheme) {
  return grid_of(ends_of(weight, scheme), scheme);
}

GroupParameters mse_search_range(const Tensor& weight, const WeightScheme& scheme) {
  return in_runs(weight, [&](const Tensor& rows) { return mse_search_range_of_run(rows, scheme); });
}

GroupParameters percentile_range(const Tensor& weight, const WeightScheme& scheme) {
  return in_runs(weight, [&](const Tensor& rows) { return percentile_range_of_run(rows, scheme); });
}

GroupParameters real_zero_hqq(const Tensor& weight, const WeightScheme& scheme) {
  constexpr int kRounds = 20;
  constexpr double kNorm = 0.7;
  constexpr double kBeta = 10;
  const double top = (1 << scheme.bits) - 1;
  const Ends ends = ends_of(weight, scheme);
  const GroupParameters whole = grid_of(ends, scheme);
  const Tensor scale = whole.scale.unsqueeze(2);
  const Tensor steps = by_group(weight, scale) / scale;
  Tensor zero = -ends.low.unsqueeze(2) / scale;
  Tensor least = at::full_like(zero, std::numeric_limits<float>::infinity());
  Tensor running = at::ones_like(zero, at::kBool);
  for (int round = 0; round < kRounds && running.any().item<bool>(); ++round) {
    const Tensor code = (steps + zero).round().clamp(0, top);
    const Tensor difference = (steps - (code - zero)) * scale;
    const Tensor size = difference.abs();
    const Tensor kept = difference.sign() * (size - size.pow(kNorm - 1) / kBeta).clamp_min(0.0);
    zero = at::where(running, (code - steps + kept / scale).mean(2, true), zero);
    const Tensor error = size.mean(2, true);
    running = running.logical_and(error.lt(least));
    least = at::minimum(least, error);
  }
  return {.scale = whole.scale, .zero = zero.squeeze(2)};
}

GroupParameters hqq_range(const Tensor& weight, const WeightScheme& scheme) {
  if (scheme.symmetric) return min_max_range(weight, scheme);
  GroupParameters found =
      in_runs(weight, [&](const Tensor& rows) { return real_zero_hqq(rows, scheme); });
  found.zero = found.zero.round().clamp(0, (1 << scheme.bits) - 1);
  return found;
}

GroupParameters importance_search_range(const Tensor& weight, const WeightScheme& scheme,
                                        const Tensor& importance) {
  return searched(min_max_range(weight, scheme), weight, importance,
                  {.groups = {.bits = scheme.bits},
                   .smallest_share = smallest_share(scheme.bits),
                   .zero_reach = scheme.symmetric ? 0 : 1});
}

GroupParameters squared_error_range(const Tensor& weight, const WeightScheme& scheme) {
  return importance_search_range(weight, scheme, at::ones({weight.size(1)}, at::kFloat));
}

GroupParameters value_range(RangeMethod method, const Tensor& weight, const WeightScheme& scheme,
                            const Tensor& importance, float global_scale) {
  const ValueFormat& format = *value_format(scheme.format);
  const Ends ends = ends_of(weight, scheme);
  const Tensor reach = at::maximum(ends.high, -ends.low);
  GroupParameters full{.scale = (reach / format.grid().largest()).clamp_min(kSmallestScale),
                       .zero = at::zeros_like(reach),
                       .global_scale = global_scale};
  if (format.scale_type == DType::u8) full.scale = power_of_two_from(full.scale);
  RangeSearch how = neighbours(scheme.format, method);
  how.groups.values = &format.grid();
  how.scales = {format.scale_type == DType::bf16 ? DType::f32 : format.scale_type, global_scale};
  const bool weighted = method == RangeMethod::importance_search;
  return searched(std::move(full), weight,
                  weighted ? importance : at::ones({weight.size(1)}, at::kFloat), how);
}

namespace {

// The largest magnitude of the weights that share an input with each linear, which get one global
// scale: programs that fuse them have room for one.
std::vector<float> global_scales(const BlockTask& task) {
  std::vector<float> scales(task.linears.size());
  for (const LinearSet& set : task.student.spec().input_sets()) {
    float reach = 0;
    for (const std::size_t i : set) {
      if (!task.linears[i].scheme.weight.quantized()) continue;
      reach = std::max(reach, task.student.weight(i).abs().max().item<float>());
    }
    for (const std::size_t i : set) {
      scales[i] = global_scale_of(task.linears[i].scheme.weight.format, reach);
    }
  }
  return scales;
}

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
                             const Tensor& importance, float global_scale) {
  if (scheme.format != WeightFormat::integer) {
    if (global_scale == 0) {
      global_scale = global_scale_of(scheme.format, weight.abs().max().item<float>());
    }
    return value_range(method, weight, scheme, importance, global_scale);
  }
  switch (method) {
    case RangeMethod::mse_search:
      return mse_search_range(weight, scheme);
    case RangeMethod::importance_search:
      return importance_search_range(weight, scheme, importance);
    case RangeMethod::percentile:
      return percentile_range(weight, scheme);
    case RangeMethod::hqq:
      return hqq_range(weight, scheme);
    case RangeMethod::min_max:
      break;
  }
  return min_max_range(weight, scheme);
}

BlockPass range_pass(RangeMethod method) {
  return [method](BlockTask& task) -> Status {
    std::vector<Tensor> importance(task.linears.size());
    if (method == RangeMethod::importance_search) importance = input_powers(task);
    const std::vector<float> global = global_scales(task);
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      const WeightScheme& scheme = task.linears[i].scheme.weight;
      if (!scheme.quantized()) continue;
      task.parameters[i] =
          choose_range(method, task.student.weight(i), scheme, importance[i], global[i]);
    }
    return {};
  };
}

}  // namespace lowbit
