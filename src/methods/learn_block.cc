#include "methods/learn_block.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "base/progress.h"
#include "calib/student.h"
#include "calib/windows.h"

namespace lowbit {
namespace {

// Adam's moments for one tensor of parameters.
struct Moments {
  Tensor first, second;
};

struct AdamStep {
  double rate = 0;
  std::int64_t number = 1;  // from 1
};

// AdamW with betas 0.9 and 0.999, epsilon 1e-8, no decay. `unit` scales the step of each element.
void adam(const Tensor& parameter, const Tensor& gradient, Moments& moments, AdamStep step,
          const Tensor& unit) {
  constexpr double kFirst = 0.9, kSecond = 0.999, kEpsilon = 1e-8;
  if (!moments.first.defined()) {
    moments.first = at::zeros_like(parameter);
    moments.second = at::zeros_like(parameter);
  }
  moments.first.mul_(kFirst).add_(gradient, 1.0 - kFirst);
  moments.second.mul_(kSecond).addcmul_(gradient, gradient, 1.0 - kSecond);
  const double n = static_cast<double>(step.number);
  const double rate = step.rate / (1.0 - std::pow(kFirst, n));
  const Tensor deviation = (moments.second / (1.0 - std::pow(kSecond, n))).sqrt_().add_(kEpsilon);
  Tensor move = moments.first / deviation;
  if (unit.defined()) move.mul_(unit);
  parameter.sub_(move, rate);
}

struct Validation {
  double loss = 0;          // what is trained for; MSE alone where it only reports
  double relative_mse = 0;  // over the teacher's mean square
};

struct TrainedLinear {
  std::size_t index = 0;
  GroupParameters start;       // as the passes before left them
  FakeQuantGradient gradient;  // the mean over a batch
  Moments scale, zero, weight;
};

struct TrainedNorm {
  std::string name;  // of its gain's tensor
  Tensor start, gradient;
  Moments gain;
};

// What training changes; tensors of their own.
struct State {
  std::vector<GroupParameters> parameters;
  std::vector<Tensor> weights;
  TorchBlock::Floats floats;
};

// Fixed codes are shared: nothing changes them.
GroupParameters copy_of(const GroupParameters& p) {
  return {.scale = p.scale.clone(), .zero = p.zero.clone(), .centered = p.centered};
}

// A scale never falls below this share of its start value: a step too far must not end in 0.
constexpr double kSmallestShare = 0.01;

class BlockLearner {
 public:
  BlockLearner(const LearnSpec& spec, BlockTask& task)
      : spec_(spec),
        task_(task),
        precision_(!spec.full_precision && has_fast_bfloat16(task.device) ? Precision::bfloat16
                                                                          : Precision::float32) {
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      if (!task.linears[i].scheme.weight.quantized()) continue;
      GroupParameters& p = task.parameters[i];
      TrainedLinear linear;
      linear.index = i;
      if (spec.frozen_codes)
        p = freeze_codes(task.student.weight(i), p, task.linears[i].scheme.weight);
      linear.start = copy_of(p);
      if (trains_weights()) task.student.set_weight(i, task.student.weight(i).clone());
      trained_.push_back(linear);
    }
    if (spec.norm_rate <= 0) return;
    for (const NormSpec* norm : task.student.spec().norms()) {
      const std::string name = norm->name + ".weight";
      const Tensor gain = task.student.floats().at(name).clone();
      task.student.set_floats({{name, gain}});
      norms_.push_back({.name = name, .start = gain.clone(), .gradient = {}, .gain = {}});
    }
  }

  Status run() {
    const Validation start = validate();
    const double before = start.loss;
    task_.report.mse_before = start.relative_mse;
    task_.report.loss_before = before;
    task_.report.loss_after = before;
    double best = before;
    State best_state = snapshot();
    for (std::int64_t epoch = 0; epoch < spec_.epochs; ++epoch) {
      if (auto status = train_epoch(epoch); !status) return status;
      if (!spec_.keep_best && epoch + 1 < spec_.epochs) continue;
      const double loss = validate().loss;
      task_.report.loss_after = loss;
      if (!std::isfinite(loss) || (spec_.keep_best && !(loss < best))) continue;
      best = loss;
      best_state = snapshot();
    }
    if (task_.report.loss_after != best || !std::isfinite(task_.report.loss_after)) {
      restore(best_state);
      task_.report.notices.emplace_back(
          "the last state validated worse; the best one was restored");
      task_.report.loss_after = best;
    }
    return {};
  }

 private:
  bool trains_weights() const { return spec_.weight_rate > 0 && !spec_.frozen_codes; }

  State snapshot() const {
    State state{.parameters = task_.parameters, .weights = {}, .floats = {}};
    for (GroupParameters& p : state.parameters) {
      if (p.scale.defined()) p = copy_of(p);
    }
    if (trains_weights()) {
      for (const TrainedLinear& linear : trained_) {
        state.weights.push_back(task_.student.weight(linear.index).clone());
      }
    }
    const auto floats = task_.student.floats();
    for (const TrainedNorm& norm : norms_) {
      state.floats[norm.name] = floats.at(norm.name).detach().clone();
    }
    return state;
  }

  void restore(const State& state) {
    task_.parameters = state.parameters;
    for (std::size_t i = 0; i < state.weights.size(); ++i) {
      task_.student.set_weight(trained_[i].index, state.weights[i]);
    }
    task_.student.set_floats(state.floats);
  }

  // Dequantized weights of all linears under the current parameters, in the products' precision.
  std::vector<Tensor> student_weights() const {
    const auto type = precision_ == Precision::bfloat16 ? at::kBFloat16 : at::kFloat;
    std::vector<Tensor> weights;
    for (std::size_t i = 0; i < task_.linears.size(); ++i) {
      const WeightScheme& scheme = task_.linears[i].scheme.weight;
      const Tensor& weight = task_.student.weight(i);
      weights.push_back(
          (scheme.quantized() ? fake_quant_weight(weight, task_.parameters[i], scheme) : weight)
              .to(type));
    }
    return weights;
  }

  // Mean objective over the validation windows (the first training windows when there are none).
  Validation validate() const {
    const at::NoGradGuard no_gradient;
    const std::int64_t all = task_.inputs.windows();
    const bool none = all == task_.train_windows;
    const std::int64_t first = none ? 0 : task_.train_windows;
    const std::int64_t last = none ? std::min<std::int64_t>(4, all) : all;
    LearnSpec measured = spec_;
    if (!spec_.keep_best) measured.token_relation = measured.sinkhorn = 0;  // reported only
    const auto weights = student_weights();
    const auto products = student_products(task_.student, task_.linears, weights, precision_);
    std::vector<LossTerms> terms(static_cast<std::size_t>(last - first));
    for_windows(task_.device, first, last, [&](std::int64_t window) {
      const Tensor output = task_.student.forward(task_.inputs.get(window, task_.device), products);
      terms[static_cast<std::size_t>(window - first)] =
          frm_loss(output, task_.targets.get(window, task_.device), measured, WithGradient::no,
                   relation_tokens(window, output.size(0)))
              .terms;
    });
    Validation mean;
    for (const LossTerms& of_window : terms) {
      mean.loss += of_window.total / static_cast<double>(last - first);
      mean.relative_mse += of_window.relative_mse / static_cast<double>(last - first);
    }
    return mean;
  }

  // Every stride-th token, from an offset that moves with the step; undefined: all.
  Tensor relation_tokens(std::int64_t step, std::int64_t tokens) const {
    if (spec_.relation_tokens <= 0 || spec_.relation_tokens >= tokens) return {};
    const std::int64_t stride = tokens / spec_.relation_tokens;
    return at::arange(step % stride, tokens, stride,
                      at::TensorOptions().dtype(at::kLong).device(task_.device));
  }

  Status train_epoch(std::int64_t epoch) {
    const std::int64_t steps = (task_.train_windows + spec_.batch - 1) / spec_.batch;
    std::int64_t skipped = 0;
    for (std::int64_t step = 0; step < steps; ++step) {
      const std::int64_t number = epoch * steps + step;
      const std::int64_t total = steps * spec_.epochs;
      const std::int64_t first = step * spec_.batch;
      const std::int64_t last = std::min(first + spec_.batch, task_.train_windows);
      const double loss = accumulate_gradients(first, last, number);
      if (std::isfinite(loss)) {
        const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * static_cast<double>(number) /
                                                    static_cast<double>(total)));
        update(cosine);
      } else {
        ++skipped;
      }
      const double fraction = static_cast<double>(number + 1) / static_cast<double>(total);
      if (auto status = task_.on_step(fraction, fmt::format("loss {:.5f}", loss)); !status) {
        return status;
      }
    }
    if (skipped > 0) {
      task_.report.notices.push_back(
          fmt::format("{} of {} steps of epoch {} had a non-finite loss and were skipped", skipped,
                      steps, epoch + 1));
    }
    return {};
  }

  // What one window of a batch gives; gradients are undefined where the loss is not finite.
  struct WindowGradient {
    double loss = 0;
    std::vector<Tensor> weights;  // by the linears' dequantized weights, for each trained linear
    std::vector<Tensor> gains;    // for each trained norm
  };

  // Leaves of its own for every window, so that windows run on several threads.
  WindowGradient window_gradient(const std::vector<Tensor>& weights, std::int64_t window,
                                 std::int64_t step) const {
    std::vector<Tensor> own = weights;
    for (const TrainedLinear& linear : trained_) {
      own[linear.index] = weights[linear.index].detach().requires_grad_(true);
    }
    TorchBlock student = task_.student;
    TorchBlock::Floats gains;
    const auto floats = student.floats();
    for (const TrainedNorm& norm : norms_) {
      gains[norm.name] = floats.at(norm.name).detach().requires_grad_(true);
    }
    student.set_floats(gains);
    const auto products = student_products(student, task_.linears, own, precision_);
    const Tensor output = student.forward(task_.inputs.get(window, task_.device), products);
    const FrmLoss loss = frm_loss(output.detach(), task_.targets.get(window, task_.device), spec_,
                                  WithGradient::yes, relation_tokens(step, output.size(0)));
    WindowGradient found{.loss = loss.terms.total, .weights = {}, .gains = {}};
    if (!std::isfinite(found.loss)) return found;
    output.backward(loss.gradient);
    for (const TrainedLinear& linear : trained_) found.weights.push_back(own[linear.index].grad());
    for (const TrainedNorm& norm : norms_) found.gains.push_back(gains.at(norm.name).grad());
    return found;
  }

  // Fills the gradients of all that is trained, the mean over windows [first, last); returns the
  // mean loss.
  double accumulate_gradients(std::int64_t first, std::int64_t last, std::int64_t step) {
    const auto weights = student_weights();
    std::vector<WindowGradient> found(static_cast<std::size_t>(last - first));
    for_windows(task_.device, first, last, [&](std::int64_t window) {
      found[static_cast<std::size_t>(window - first)] = window_gradient(weights, window, step);
    });
    const double share = 1.0 / static_cast<double>(last - first);
    double loss = 0;
    for (const WindowGradient& window : found) loss += window.loss * share;
    if (!std::isfinite(loss)) return loss;
    const at::NoGradGuard no_gradient;
    const auto mean = [&](auto part, std::size_t i) {
      Tensor sum = (found.front().*part)[i] * share;
      for (std::size_t w = 1; w < found.size(); ++w) sum.add_((found[w].*part)[i], share);
      return sum;
    };
    for (std::size_t i = 0; i < trained_.size(); ++i) {
      const std::size_t linear = trained_[i].index;
      trained_[i].gradient = fake_quant_weight_backward(
          task_.student.weight(linear), task_.parameters[linear],
          task_.linears[linear].scheme.weight, mean(&WindowGradient::weights, i));
    }
    for (std::size_t i = 0; i < norms_.size(); ++i) {
      norms_[i].gradient = mean(&WindowGradient::gains, i);
    }
    return loss;
  }

  void update(double cosine) {
    const at::NoGradGuard no_gradient;
    ++updates_;
    for (TrainedLinear& linear : trained_) {
      GroupParameters& p = task_.parameters[linear.index];
      const Tensor unit = spec_.relative_rates ? linear.start.scale : Tensor();
      if (trains_weights()) {
        const Tensor& weight = task_.student.weight(linear.index);
        const auto groups = [&](const Tensor& t) {
          return t.view({p.scale.size(0), p.scale.size(1), -1});
        };
        adam(groups(weight), groups(linear.gradient.weight), linear.weight,
             {.rate = spec_.weight_rate * cosine, .number = updates_},
             unit.defined() ? unit.unsqueeze(2) : unit);
      }
      adam(p.scale, linear.gradient.scale, linear.scale,
           {.rate = spec_.scale_rate * cosine, .number = updates_}, unit);
      p.scale.copy_(at::maximum(p.scale, linear.start.scale * kSmallestShare));
      const bool fixed_zero =
          p.centered.defined() || task_.linears[linear.index].scheme.weight.symmetric;
      if (fixed_zero || spec_.zero_rate <= 0) continue;
      adam(p.zero, linear.gradient.zero, linear.zero,
           {.rate = spec_.zero_rate * cosine, .number = updates_}, {});
    }
    const auto floats = task_.student.floats();
    for (TrainedNorm& norm : norms_) {
      adam(floats.at(norm.name), norm.gradient, norm.gain,
           {.rate = spec_.norm_rate * cosine, .number = updates_},
           spec_.relative_rates ? norm.start.abs() : Tensor());
    }
  }

  const LearnSpec& spec_;
  BlockTask& task_;
  Precision precision_;
  std::vector<TrainedLinear> trained_;
  std::vector<TrainedNorm> norms_;
  std::int64_t updates_ = 0;
};

}  // namespace

BlockPass learn_pass(const LearnSpec& spec) {
  return [spec](BlockTask& task) { return BlockLearner(spec, task).run(); };
}

}  // namespace lowbit
