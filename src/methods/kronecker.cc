#include "methods/kronecker.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "base/half_float.h"
#include "calib/turn.h"
#include "calib/windows.h"
#include "methods/block_gradient.h"
#include "methods/inputs.h"
#include "methods/range.h"
#include "methods/training.h"

namespace lowbit {
namespace {

// One factor of an input's transform: Cayley(skew) start.
struct TrainedFactor {
  Tensor start, skew;  // [n, n]
  Moments moments = {};

  // From float16, in which the entries of H / sqrt(n) are all off by the same share.
  static TrainedFactor of(const std::vector<float>& values, std::int64_t n,
                          const at::Device& device) {
    const Tensor start = to_tensor(values, {n, n});
    const double off = std::sqrt(static_cast<double>(n)) / start.norm().item<double>();
    return {.start = (start * off).to(device), .skew = at::zeros({n, n}).to(device)};
  }
  Tensor value() const { return cayley(skew).matmul(start); }
};

std::vector<float> rounded(const Tensor& factor) {
  std::vector<float> values = to_floats(factor.detach());
  for (float& value : values) value = round_to_f16(value);
  return values;
}

class TransformLearner {
 public:
  TransformLearner(const RotateSpec& spec, BlockTask& task)
      : spec_(spec), task_(task), factors_of_(task.linears.size()) {
    for (const LinearSet& set : task.student.spec().input_sets()) {
      const std::size_t begin = factors_.size();
      for (const std::size_t i : set) {
        const InputTransform& transform = task.linears[i].scheme.transform;
        if (!transform.kronecker.any()) continue;
        factors_of_[i] = begin;
        if (factors_.size() > begin) continue;
        const auto [left, right] = transform.kronecker;
        factors_.push_back(TrainedFactor::of(transform.factors->left, left, task.device));
        factors_.push_back(TrainedFactor::of(transform.factors->right, right, task.device));
      }
    }
  }

  Status run() {
    if (factors_.empty() || spec_.epochs == 0) return {};
    const std::vector<PlannedLinear> start = task_.linears;
    const double before = validate();
    for (std::int64_t epoch = 0; epoch < spec_.epochs; ++epoch) {
      const auto step = [&](const TrainingStep& now) { return train(now); };
      const auto on_step = [&](double fraction, double loss) {
        return task_.on_step(fraction, fmt::format("transforms, loss {:.5f}", loss));
      };
      Status done = train_epoch({.windows = asked_windows(task_, spec_.windows),
                                 .batch = spec_.batch,
                                 .epochs = spec_.epochs},
                                epoch, step, on_step, task_.report.notices);
      if (!done) return done;
    }
    hand_over();
    const double after = validate();
    if (after < before) return {};
    task_.linears = start;
    task_.report.notices.push_back(fmt::format(
        "learned transforms validated no better ({:.5f}) than Hadamard matrices ({:.5f}), which "
        "were restored",
        after, before));
    return {};
  }

 private:
  // The linears' schemes with what was learned, in float16.
  void hand_over() {
    const at::NoGradGuard no_gradient;
    std::vector<std::shared_ptr<const KroneckerFactors>> stored(factors_.size());
    for (std::size_t i = 0; i < task_.linears.size(); ++i) {
      if (!factors_of_[i]) continue;
      InputTransform& transform = task_.linears[i].scheme.transform;
      auto& shared = stored[*factors_of_[i]];
      if (!shared) {
        shared = std::make_shared<KroneckerFactors>(
            KroneckerFactors{.size = transform.kronecker,
                             .left = rounded(factors_[*factors_of_[i]].value()),
                             .right = rounded(factors_[*factors_of_[i] + 1].value())});
      }
      transform.factors = shared;
    }
  }

  // With its gradient by the turned weight, through its ranges (straight through where it is no
  // integer format).
  Tensor rounded_weight(std::size_t linear, const Tensor& turned_one) const {
    const WeightScheme& scheme = task_.linears[linear].scheme.weight;
    if (!scheme.quantized()) return turned_one;
    if (scheme.format == WeightFormat::integer) {
      return fake_quant_weight_reference(turned_one, min_max_range(turned_one, scheme), scheme);
    }
    const Tensor weight = turned_one.detach();
    const auto range = choose_range(RangeMethod::min_max, weight, scheme, {});
    return turned_one + (fake_quant_weight(weight, range, scheme) - weight);
  }

  // Over the change of the stream by the block: what is trained for does not depend on how large
  // the stream is that the block adds to.
  double unit(std::int64_t window) const {
    const Tensor change =
        task_.targets.get(window, task_.device) - task_.inputs.get(window, task_.device);
    return std::max(change.square().mean().item<double>(), 1e-20);
  }

  // The mean loss under the linears' schemes as they are.
  double validate() const {
    const at::NoGradGuard no_gradient;
    std::vector<Tensor> weights;
    for (std::size_t i = 0; i < task_.linears.size(); ++i) {
      const InputTransform& transform = task_.linears[i].scheme.transform;
      weights.push_back(rounded_weight(i, turned_weight(task_.student.weight(i), transform)));
    }
    const auto products =
        student_products(task_.student, task_.linears, weights, Precision::float32);
    const auto [first, last] = validation_windows(task_.inputs, task_.train_windows);
    std::vector<double> losses(static_cast<std::size_t>(last - first));
    for_windows(task_.device, first, last, [&, from = first](std::int64_t window) {
      const Tensor output = task_.student.forward(task_.inputs.get(window, task_.device), products);
      const Tensor error = output - task_.targets.get(window, task_.device);
      losses[static_cast<std::size_t>(window - from)] =
          error.square().mean().item<double>() / unit(window);
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size());
  }

  double train(const TrainingStep& now) {
    GradientQuery query{.linears = task_.linears, .weights = {}, .gains = {}};
    query.factors_of = factors_of_;
    std::vector<Tensor> skews;  // the leaves of everything below
    for (TrainedFactor& factor : factors_) {
      skews.push_back(factor.skew.detach().requires_grad_(true));
      query.factors.push_back(cayley(skews.back()).matmul(factor.start));
    }
    std::vector<Tensor> weights, rounded_weights;
    for (std::size_t i = 0; i < task_.linears.size(); ++i) {
      weights.push_back(task_.student.weight(i));
      if (!factors_of_[i]) continue;
      const auto factor = query.factors.begin() + static_cast<std::ptrdiff_t>(*factors_of_[i]);
      query.weights.push_back(i);
      rounded_weights.push_back(
          rounded_weight(i, kronecker_turned(weights[i], factor[0], factor[1])));
      weights[i] = rounded_weights.back().detach();
    }
    const auto loss_of = [&](std::int64_t window, const Tensor& output) -> WindowLoss {
      const Tensor error = output - task_.targets.get(window, task_.device);
      const double share = 1 / unit(window);
      return {error.square().mean().item<double>() * share,
              error * (2 * share / static_cast<double>(error.numel()))};
    };
    const auto [loss, mean] = mean_gradient(task_, query, weights, now.windows, loss_of);
    if (!std::isfinite(loss)) return loss;
    Tensor whole = at::zeros({}, skews.front().options());  // its gradient is that of the loss
    for (std::size_t i = 0; i < rounded_weights.size(); ++i) {
      whole = whole + (rounded_weights[i] * mean.weights[i]).sum();
    }
    for (std::size_t i = 0; i < query.factors.size(); ++i) {
      whole = whole + (query.factors[i] * mean.factors[i]).sum();
    }
    whole.backward();
    const at::NoGradGuard no_gradient;
    for (std::size_t i = 0; i < factors_.size(); ++i) {
      adam(factors_[i].skew, skews[i].grad(), factors_[i].moments,
           {.rate = spec_.rate * now.share, .number = now.number + 1}, {});
    }
    return loss;
  }

  const RotateSpec& spec_;
  BlockTask& task_;
  std::vector<TrainedFactor> factors_;                  // left, right, left ...
  std::vector<std::optional<std::size_t>> factors_of_;  // where those of each linear begin
};

}  // namespace

Tensor cayley(const Tensor& a) {
  const Tensor k = a - a.t();
  const Tensor one = at::eye(a.size(0), a.options());
  return at::linalg_inv(one + k).matmul(one - k);
}

BlockPass kronecker_pass(const RotateSpec& spec) {
  return [spec](BlockTask& task) { return TransformLearner(spec, task).run(); };
}

}  // namespace lowbit
