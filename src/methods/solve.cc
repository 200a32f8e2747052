#include "methods/solve.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "kernels/column_sweep.h"
#include "methods/inputs.h"
#include "methods/range.h"

namespace lowbit {
namespace {

constexpr std::int64_t kRunColumns = 128;  // of a sweep between two corrections of all the rest

std::int64_t group_size_of(const WeightScheme& scheme, std::int64_t in) {
  return scheme.group_size == 0 ? in : scheme.group_size;
}

// The columns first .. first + count of the sweep, errors returned as [out, count].
Tensor sweep_run(const Tensor& weight, const Tensor& upper, const GroupParameters& p,
                 const WeightScheme& scheme, const Tensor& group_of, std::int64_t first,
                 std::int64_t count) {
  const std::int64_t in = weight.size(1);
  Tensor errors = at::empty({weight.size(0), count}, at::kFloat);
  const ColumnSweep how{.bits = scheme.bits,
                        .columns = count,
                        .stride = in,
                        .groups_per_row = p.scale.size(1),
                        .group_of = group_of.data_ptr<std::int64_t>() + first,
                        .upper = upper.data_ptr<float>() + first * (in + 1),
                        .upper_stride = in};
  at::parallel_for(0, weight.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
    sweep_columns(how, begin, end, weight.data_ptr<float>() + first, p.scale.data_ptr<float>(),
                  p.zero.data_ptr<float>(), errors.data_ptr<float>());
  });
  return errors;
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

GptqResult gptq(const Tensor& weight, const Tensor& hessian, const GroupParameters& parameters,
                const WeightScheme& scheme, const GptqOptions& options, const GroupRange& range) {
  const std::int64_t in = weight.size(1);
  const std::int64_t group = group_size_of(scheme, in);
  Tensor h = hessian.to(at::kCPU, at::kDouble).clone();
  const Tensor dead = h.diagonal().le(0);  // never any input: its weight does not matter
  h.diagonal().add_(dead.to(at::kDouble));
  const Tensor order = options.activation_order ? h.diagonal().argsort(-1, true) : at::arange(in);
  GptqResult result{.weight = {}, .parameters = {}, .damping = options.damping};
  const Tensor upper = inverse_factor(h.index({order}).index_select(1, order), result.damping)
                           .to(at::kFloat)
                           .contiguous();
  Tensor columns = weight.to(at::kCPU).masked_fill(dead.unsqueeze(0), 0.0).index_select(1, order);
  columns = columns.contiguous();
  GroupParameters& p = result.parameters;
  p.scale = parameters.scale.to(at::kCPU).contiguous().clone();
  p.zero = parameters.zero.to(at::kCPU).contiguous().clone();
  const Tensor group_of = order.floor_divide(group).contiguous();
  std::int64_t count = 0;
  for (std::int64_t first = 0; first < in; first += count) {
    count = std::min(kRunColumns, in - first);
    if (!options.activation_order) {  // runs end where groups do
      count = std::min(count, group - first % group);
      if (first % group == 0) {
        const Tensor importance = h.diagonal().slice(0, first, first + group).to(at::kFloat);
        const GroupParameters found =
            range(columns.slice(1, first, first + group).contiguous(), importance);
        p.scale.select(1, first / group).copy_(found.scale.select(1, 0));
        p.zero.select(1, first / group).copy_(found.zero.select(1, 0));
      }
    }
    const Tensor errors = sweep_run(columns, upper, p, scheme, group_of, first, count);
    if (first + count == in) break;
    columns.slice(1, first + count)
        .sub_(errors.matmul(upper.slice(0, first, first + count).slice(1, first + count)));
  }
  result.weight = columns.index_select(1, order.argsort()).to(weight.device());
  p.scale = p.scale.to(weight.device());
  p.zero = p.zero.to(weight.device());
  return result;
}

namespace {

class BlockSolver {
 public:
  BlockSolver(const SolveSpec& spec, RangeMethod range, BlockTask& task)
      : spec_(spec), range_(range), task_(task) {
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      weights_.push_back(task.student.weight(i));
    }
  }

  // Set by set: each sees what the sets before it, rounded, put out.
  Status run() {
    for (const LinearSet& set : input_sets(task_.student.spec())) {
      if (auto status = solve_set(set); !status) return status;
    }
    return {};
  }

 private:
  Status solve_set(const LinearSet& set) {
    const InputQuery query{
        .linears = task_.linears, .weights = weights_, .windows = spec_.windows, .wanted = set};
    std::vector<Tensor> hessians(task_.linears.size());  // linears of one input share theirs
    measure_inputs(
        task_, query, [](const Tensor& x) { return Measured{x.t().matmul(x)}; },
        [&](std::span<const std::size_t> alike, const Measured& product) {
          Tensor& sum = hessians[alike.front()];
          sum = sum.defined() ? sum.add_(product[0]) : product[0].to(at::kDouble);
          for (const std::size_t linear : alike) hessians[linear] = sum;
        });
    for (const std::size_t i : set) {
      if (!task_.linears[i].scheme.weight.quantized()) continue;
      if (!hessians[i].isfinite().all().item<bool>()) {
        return bad_input("quantize/non-finite",
                         task_.linears[i].linear.name +
                             ": its inputs are not finite; the source model overflows on this "
                             "text, or the recipe's bits are too few for it");
      }
      solve(i, hessians[i]);
    }
    return task_.on_step(
        static_cast<double>(set.back() + 1) / static_cast<double>(task_.linears.size()), "gptq");
  }

  void solve(std::size_t i, const Tensor& hessian) {
    const WeightScheme& scheme = task_.linears[i].scheme.weight;
    const GptqResult result =
        gptq(task_.student.weight(i), hessian, task_.parameters[i], scheme,
             {.damping = spec_.damping, .activation_order = spec_.activation_order},
             [&](const Tensor& columns, const Tensor& importance) {
               return choose_range(range_, columns, scheme, importance);
             });
    if (result.damping > spec_.damping) {
      task_.report.notices.push_back(
          fmt::format("{}: its inputs span too little of their space; damping rose from {} to {}",
                      task_.linears[i].linear.name, spec_.damping, result.damping));
    }
    task_.student.set_weight(i, result.weight);
    task_.parameters[i] = result.parameters;
    weights_[i] = fake_quant_weight(result.weight, result.parameters, scheme);
  }

  const SolveSpec& spec_;
  RangeMethod range_;
  BlockTask& task_;
  std::vector<Tensor> weights_;  // rounded where they are solved
};

}  // namespace

BlockPass solve_pass(const SolveSpec& spec, RangeMethod range) {
  return [spec, range](BlockTask& task) { return BlockSolver(spec, range, task).run(); };
}

}  // namespace lowbit
