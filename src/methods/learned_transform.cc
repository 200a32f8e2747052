#include "methods/learned_transform.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <utility>

#include "calib/turn.h"
#include "calib/windows.h"
#include "methods/block_gradient.h"
#include "methods/inputs.h"
#include "methods/range.h"
#include "methods/training.h"

namespace lowbit {
namespace {

class TransformLearner {
 public:
  TransformLearner(BlockTask& task, const TransformTraining& training, LearnedTransform transform)
      : task_(task),
        training_(training),
        transform_(std::move(transform)),
        moments_(transform_.parameters.size()) {}

  Status run() {
    if (transform_.parameters.empty() || training_.epochs == 0) return {};
    const TorchBlock student = task_.student;
    const std::vector<PlannedLinear> linears = task_.linears;
    const double before = validate();
    for (std::int64_t epoch = 0; epoch < training_.epochs; ++epoch) {
      const auto step = [&](const TrainingStep& now) { return train(now); };
      const auto on_step = [&](double fraction, double loss) {
        return task_.on_step(fraction, fmt::format("{}, loss {:.5f}", transform_.name, loss));
      };
      Status done = train_epoch({.windows = asked_windows(task_, training_.windows),
                                 .batch = training_.batch,
                                 .epochs = training_.epochs},
                                epoch, step, on_step, task_.report.notices);
      if (!done) return done;
    }
    task_.student = student;
    store();
    const double after = validate();
    if (after < before) return {};
    task_.student = student;
    task_.linears = linears;
    task_.report.notices.push_back(
        fmt::format("learned {} validated no better ({:.5f}) than their start ({:.5f}), which was "
                    "restored",
                    transform_.name, after, before));
    return {};
  }

 private:
  void store() const {
    const at::NoGradGuard no_gradient;
    transform_.store(transform_.parts(transform_.parameters));
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

  // The mean loss of the task as it is.
  double validate() const {
    const at::NoGradGuard no_gradient;
    Tensors weights;
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
    Tensors parameters;  // the leaves of everything below
    for (const Tensor& parameter : transform_.parameters) {
      parameters.push_back(parameter.detach().requires_grad_(true));
    }
    GradientQuery query{.linears = task_.linears, .weights = {}, .gains = {}};
    query.parts = transform_.parts(parameters);
    query.input_of = transform_.input;
    Tensors weights, rounded_weights;
    for (std::size_t i = 0; i < task_.linears.size(); ++i) {
      const Tensor rounded = rounded_weight(i, transform_.weight(i, query.parts));
      weights.push_back(rounded.detach());
      if (!rounded.requires_grad()) continue;
      query.weights.push_back(i);
      rounded_weights.push_back(rounded);
    }
    const TorchBlock::Floats biases = transform_.biases(query.parts);
    for (const auto& [name, bias] : biases) {
      query.gains.push_back(name);
      task_.student.set_floats({{name, bias.detach()}});
    }
    const auto loss_of = [&](std::int64_t window, const Tensor& output) -> WindowLoss {
      const Tensor error = output - task_.targets.get(window, task_.device);
      const double share = 1 / unit(window);
      return {error.square().mean().item<double>() * share,
              error * (2 * share / static_cast<double>(error.numel()))};
    };
    const auto [loss, mean] = mean_gradient(task_, query, weights, now.windows, loss_of);
    if (!std::isfinite(loss)) return loss;
    Tensor whole = at::zeros({}, parameters.front().options());  // its gradient is that of the loss
    for (std::size_t i = 0; i < rounded_weights.size(); ++i) {
      whole = whole + (rounded_weights[i] * mean.weights[i]).sum();
    }
    for (std::size_t i = 0; i < query.gains.size(); ++i) {
      whole = whole + (biases.at(query.gains[i]) * mean.gains[i]).sum();
    }
    for (std::size_t i = 0; i < query.parts.size(); ++i) {
      whole = whole + (query.parts[i] * mean.parts[i]).sum();
    }
    whole.backward();
    const at::NoGradGuard no_gradient;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      adam(transform_.parameters[i], parameters[i].grad(), moments_[i],
           {.rate = training_.rate * now.share, .number = now.number + 1}, {});
    }
    return loss;
  }

  BlockTask& task_;
  const TransformTraining& training_;
  LearnedTransform transform_;
  std::vector<Moments> moments_;  // of each parameter
};

}  // namespace

Status learn_transform(BlockTask& task, const TransformTraining& training,
                       LearnedTransform transform) {
  return TransformLearner(task, training, std::move(transform)).run();
}

}  // namespace lowbit
