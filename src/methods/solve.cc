#include "methods/solve.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "methods/coordinate_descent.h"
#include "methods/gptq.h"
#include "methods/inputs.h"
#include "methods/low_rank.h"
#include "methods/range.h"
#include "methods/refit.h"
#include "methods/token_weights.h"

namespace lowbit {
namespace {

class BlockSolver {
 public:
  BlockSolver(const SolveSpec& spec, RangeMethod range, const std::optional<LowRankSpec>& low_rank,
              BlockTask& task)
      : spec_(spec), range_(range), low_rank_(low_rank), task_(task) {
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      weights_.push_back(task.student.weight(i));
    }
    if (spec.needs_teacher_inputs()) float_weights_ = weights_;
  }

  Status run() {
    if (spec_.token_weights == TokenWeights::attention) weigh_tokens();
    for (const LinearSet& set : task_.student.spec().input_sets()) {
      if (auto status = solve_set(set); !status) return status;
    }
    return {};
  }

 private:
  void weigh_tokens() {
    token_weights_ = attention_weights(task_, spec_.windows, spec_.least_token_weight);
    double effective = 0;
    for (const Tensor& weights : token_weights_) effective += effective_tokens(weights);
    const std::int64_t widest = task_.student.weight(task_.linears.size() - 1).size(1);
    if (effective >= static_cast<double>(widest)) return;
    task_.report.notices.push_back(
        fmt::format("its weighted tokens count for {:.0f}, fewer than the {} inputs of its widest "
                    "linear; use more text or a larger solve.least_token_weight",
                    effective, widest));
  }

  bool needs_statistics() const {
    return spec_.method != SolveMethod::nearest || low_rank_->weighted;
  }

  // The statistics of the set's inputs; linears that take theirs alike share them.
  std::vector<InputStatistics> statistics_of(const LinearSet& set) const {
    const InputQuery query{.linears = task_.linears,
                           .weights = weights_,
                           .windows = spec_.windows,
                           .wanted = set,
                           .teacher_weights = float_weights_};
    std::vector<InputStatistics> statistics(task_.linears.size());
    measure_seen(
        task_, query,
        [&](const SeenInput& seen) {
          Tensor x = seen.x;
          if (!token_weights_.empty()) {
            x = x * token_weights_[static_cast<std::size_t>(seen.window)].unsqueeze(1);
          }
          Measured products = {seen.x.t().matmul(x)};
          if (seen.teacher.defined()) products.push_back((seen.teacher - seen.x).t().matmul(x));
          return products;
        },
        [&](std::span<const std::size_t> alike, const Measured& products) {
          const auto add = [](Tensor& sum, const Tensor& product) {
            sum = sum.defined() ? sum.add_(product) : product.to(at::kDouble);
          };
          InputStatistics& sums = statistics[alike.front()];
          add(sums.hessian, products[0]);
          if (products.size() > 1) add(sums.drift, products[1]);
          for (const std::size_t linear : alike) statistics[linear] = sums;
        });
    return statistics;
  }

  Status solve_set(const LinearSet& set) {
    const std::vector<InputStatistics> statistics =
        needs_statistics() ? statistics_of(set)
                           : std::vector<InputStatistics>(task_.linears.size());
    const auto finite = [](const Tensor& sum) {
      return !sum.defined() || sum.isfinite().all().item<bool>();
    };
    for (const std::size_t i : set) {
      if (!task_.linears[i].scheme.weight.quantized()) continue;
      if (!finite(statistics[i].hessian) || !finite(statistics[i].drift)) {
        return non_finite_inputs(task_.linears[i].linear.name);
      }
      low_rank_ ? solve_with_pair(i, statistics[i]) : solve(i, statistics[i]);
    }
    return task_.on_step(
        static_cast<double>(set.back() + 1) / static_cast<double>(task_.linears.size()), "solve");
  }

  void solve(std::size_t i, const InputStatistics& statistics) {
    Tensor solved = task_.student.weight(i);
    if (spec_.method != SolveMethod::nearest) {
      solved =
          spec_.method == SolveMethod::quantease ? descended(i, statistics) : swept(i, statistics);
      if (spec_.refit > 0) solved = refitted(i, statistics, solved);
      task_.student.set_weight(i, solved);
    }
    weights_[i] = fake_quant_weight(solved, task_.parameters[i], task_.linears[i].scheme.weight);
  }

  void solve_with_pair(std::size_t i, const InputStatistics& statistics) {
    struct Round {
      Tensor weight, rounded;
      GroupParameters parameters;
      FittedPair fitted;
    };
    PlannedLinear& planned = task_.linears[i];
    const Tensor weight = task_.student.weight(i);
    const GroupParameters start = task_.parameters[i];
    const auto [target, upper] = pair_target(i, statistics);
    Round best;
    double error = 0;  // without a pair
    for (std::int64_t round = 0; round < low_rank_->rounds; ++round) {
      task_.parameters[i] = start;
      solve(i, statistics);
      FittedPair fitted =
          fit_low_rank(target - weights_[i].to(at::kCPU), upper, planned.scheme.low_rank.rank);
      const Tensor rest = weight - fitted.product.to(weight.device());
      if (round == 0) error = fitted.before;
      if (round == 0 || fitted.after < best.fitted.after) {
        best = {task_.student.weight(i), weights_[i], task_.parameters[i], std::move(fitted)};
      }
      task_.student.set_weight(i, rest);
    }
    task_.student.set_weight(i, best.weight);
    task_.parameters[i] = best.parameters;
    weights_[i] = best.rounded;
    planned.scheme.low_rank.pair = std::make_shared<LowRankPair>(std::move(best.fitted.pair));
    task_.report.low_rank_shares[planned.linear.name] =
        error > 0 ? 1 - best.fitted.after / error : 0;
  }

  // What codes and pair together stand for, and the factor of what weighs their error
  // (fit_low_rank).
  std::pair<Tensor, Tensor> pair_target(std::size_t i, const InputStatistics& statistics) {
    const Tensor weight = task_.student.weight(i).to(at::kCPU, at::kDouble);
    if (!statistics.hessian.defined()) return {weight, Tensor()};
    const OrderedLayer layer =
        in_order(weight, statistics, task_.linears[i].scheme.weight, ColumnOrder::as_stored);
    double damping = spec_.damping;
    const Tensor upper = inverse_factor(layer.hessian, damping);
    tell_damping(i, damping);
    const Tensor target =
        spec_.used_asymmetry() > 0
            ? weight + weight.matmul(layer.drift).matmul(upper.t()).matmul(upper) *
                           spec_.used_asymmetry()
            : weight;
    return {target, low_rank_->weighted ? upper : Tensor()};
  }

  // Once, though a solver, its rounds and the pair take the factor of the same moments.
  void tell_damping(std::size_t i, double damping) {
    if (damping <= spec_.damping) return;
    const std::string notice =
        fmt::format("{}: its inputs span too little of their space; damping rose from {} to {}",
                    task_.linears[i].linear.name, spec_.damping, damping);
    std::vector<std::string>& told = task_.report.notices;
    if (std::find(told.begin(), told.end(), notice) == told.end()) told.push_back(notice);
  }

  Tensor swept(std::size_t i, const InputStatistics& statistics) {
    const WeightScheme& scheme = task_.linears[i].scheme.weight;
    SolvedWeight result = gptq(task_.student.weight(i), statistics, task_.parameters[i], scheme,
                               {.damping = spec_.damping,
                                .activation_order = spec_.activation_order,
                                .asymmetry = spec_.used_asymmetry(),
                                .first_order = spec_.first_order,
                                .polish = spec_.polish},
                               [&](const Tensor& columns, const Tensor& importance) {
                                 return choose_range(range_, columns, scheme, importance,
                                                     task_.parameters[i].global_scale);
                               });
    tell_damping(i, result.damping);
    task_.parameters[i] = result.parameters;
    return result.weight;
  }

  Tensor descended(std::size_t i, const InputStatistics& statistics) const {
    const WeightScheme& scheme = task_.linears[i].scheme.weight;
    const Tensor& weight = task_.student.weight(i);
    const OrderedLayer layer = in_order(
        weight, statistics, scheme,
        spec_.activation_order ? ColumnOrder::largest_input_first : ColumnOrder::as_stored);
    const Tensor solved = coordinate_descent(layer, task_.parameters[i], scheme,
                                             {.damping = spec_.damping, .passes = spec_.passes});
    return solved.index_select(1, layer.order.argsort()).to(weight.device());
  }

  // With other scales for the codes that `solved` means, and then other codes, in turn.
  Tensor refitted(std::size_t i, const InputStatistics& statistics, Tensor solved) {
    const WeightScheme& scheme = task_.linears[i].scheme.weight;
    const Tensor& weight = task_.student.weight(i);
    const OrderedLayer layer = in_order(weight, statistics, scheme, ColumnOrder::as_stored);
    GroupParameters& p = task_.parameters[i];
    for (std::int64_t round = 0; round < spec_.refit; ++round) {
      if (round > 0) {
        const DescentOptions once{.damping = spec_.damping,
                                  .asymmetry = spec_.used_asymmetry(),
                                  .passes = 1,
                                  .relaxed_passes = false};
        solved = coordinate_descent(layer, p, scheme, once, solved.to(at::kCPU).contiguous())
                     .to(weight.device());
      }
      const Tensor scale =
          refit_scales(layer, solved, p, scheme,
                       {.damping = spec_.damping, .asymmetry = spec_.used_asymmetry()});
      const Tensor change = (scale / p.scale).unsqueeze(2);
      solved = (solved.view({scale.size(0), scale.size(1), -1}) * change).view_as(weight);
      p.scale = scale;
    }
    return solved;
  }

  const SolveSpec& spec_;
  RangeMethod range_;
  const std::optional<LowRankSpec>& low_rank_;
  BlockTask& task_;
  std::vector<Tensor> weights_;        // rounded where they are solved
  std::vector<Tensor> float_weights_;  // as the passes before left them; empty: not asked for
  std::vector<Tensor> token_weights_;  // of each window, [tokens]; empty: all alike
};

}  // namespace

BlockPass solve_pass(const SolveSpec& spec, RangeMethod range,
                     const std::optional<LowRankSpec>& low_rank) {
  return [spec, range, low_rank](BlockTask& task) {
    CHECK(!spec.needs_teacher_inputs() || task.teacher_inputs != nullptr);
    return BlockSolver(spec, range, low_rank, task).run();
  };
}

}  // namespace lowbit
