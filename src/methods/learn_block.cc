#include "methods/learn_block.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "base/progress.h"
#include "calib/student.h"
#include "calib/windows.h"
#include "methods/block_gradient.h"
#include "methods/frm_loss.h"
#include "methods/trained_weight.h"
#include "methods/training.h"

namespace lowbit {
namespace {

struct Validation {
  double loss = 0;          // what is trained for; MSE alone where it only reports
  double relative_mse = 0;  // over the teacher's mean square
};

struct TrainedLinear {
  std::size_t index = 0;
  TrainedWeight weight;
};

struct TrainedNorm {
  std::string name;  // of its gain's tensor
  Tensor start;
  Moments gain;
};

// What training changes; tensors of their own.
struct State {
  std::vector<TrainedWeight::State> weights;
  TorchBlock::Floats floats;
};

class BlockLearner {
 public:
  BlockLearner(const LearnSpec& spec, BlockTask& task)
      : spec_(spec),
        task_(task),
        precision_(!spec.full_precision && has_fast_bfloat16(task.device) ? Precision::bfloat16
                                                                          : Precision::float32),
        query_{.linears = task.linears, .weights = {}, .gains = {}, .precision = precision_} {
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      if (!task.linears[i].scheme.weight.quantized()) continue;
      trained_.push_back({.index = i,
                          .weight = TrainedWeight(spec, task.linears[i].scheme.weight,
                                                  task.student.weight(i), task.parameters[i])});
      query_.weights.push_back(i);
    }
    if (spec.norm_rate <= 0) return;
    for (const NormSpec* norm : task.student.spec().norms()) {
      const std::string name = norm->name + ".weight";
      const Tensor gain = task.student.floats().at(name).clone();
      task.student.set_floats({{name, gain}});
      query_.gains.push_back(name);
      norms_.push_back({.name = name, .start = gain.clone(), .gain = {}});
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
      if (auto status = train(epoch); !status) return status;
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
    hand_over();
    return {};
  }

 private:
  State snapshot() const {
    State state;
    for (const TrainedLinear& linear : trained_) state.weights.push_back(linear.weight.snapshot());
    const auto floats = task_.student.floats();
    for (const TrainedNorm& norm : norms_) {
      state.floats[norm.name] = floats.at(norm.name).detach().clone();
    }
    return state;
  }

  void restore(const State& state) {
    for (std::size_t i = 0; i < trained_.size(); ++i) trained_[i].weight.restore(state.weights[i]);
    task_.student.set_floats(state.floats);
  }

  // Gives the task what was trained.
  void hand_over() const {
    for (const TrainedLinear& linear : trained_) {
      task_.student.set_weight(linear.index, linear.weight.weight());
      task_.parameters[linear.index] = linear.weight.parameters();
    }
  }

  // Dequantized weights of all linears under the current parameters, in the products' precision.
  std::vector<Tensor> student_weights() const {
    const auto type = precision_ == Precision::bfloat16 ? at::kBFloat16 : at::kFloat;
    std::vector<Tensor> weights(task_.linears.size());
    for (const TrainedLinear& linear : trained_) {
      weights[linear.index] = linear.weight.dequantized().to(type);
    }
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (!weights[i].defined()) weights[i] = task_.student.weight(i).to(type);
    }
    return weights;
  }

  // Mean objective over the validation windows (the first training windows when there are none).
  Validation validate() const {
    const at::NoGradGuard no_gradient;
    const auto [first, last] = validation_windows(task_.inputs, task_.train_windows);
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

  Status train(std::int64_t epoch) {
    const auto step = [&](const TrainingStep& now) {
      const MeanGradient found = gradients(now.windows, now.number);
      if (std::isfinite(found.loss)) update(found.mean, now.share);
      return found.loss;
    };
    const auto on_step = [&](double fraction, double loss) {
      return task_.on_step(fraction, fmt::format("loss {:.5f}", loss));
    };
    return train_epoch({.windows = task_.train_windows,
                        .batch = spec_.batch,
                        .epochs = spec_.epochs,
                        .decay = spec_.signed_steps ? Decay::linear : Decay::cosine},
                       epoch, step, on_step, task_.report.notices);
  }

  MeanGradient gradients(WindowRange windows, std::int64_t step) const {
    return mean_gradient(task_, query_, student_weights(), windows,
                         [&](std::int64_t window, const Tensor& output) -> WindowLoss {
                           FrmLoss loss =
                               frm_loss(output, task_.targets.get(window, task_.device), spec_,
                                        WithGradient::yes, relation_tokens(step, output.size(0)));
                           return {loss.terms.total, loss.gradient};
                         });
  }

  void update(const BlockGradient& mean, double share) {
    const at::NoGradGuard no_gradient;
    ++updates_;
    for (std::size_t i = 0; i < trained_.size(); ++i) {
      trained_[i].weight.step(mean.weights[i], share, updates_);
    }
    const auto floats = task_.student.floats();
    for (std::size_t i = 0; i < norms_.size(); ++i) {
      adam(floats.at(norms_[i].name), mean.gains[i], norms_[i].gain,
           {.rate = spec_.norm_rate * share, .number = updates_},
           spec_.relative_rates ? norms_[i].start.abs() : Tensor());
    }
  }

  const LearnSpec& spec_;
  BlockTask& task_;
  Precision precision_;
  GradientQuery query_;
  std::vector<TrainedLinear> trained_;
  std::vector<TrainedNorm> norms_;
  std::int64_t updates_ = 0;
};

}  // namespace

BlockPass learn_pass(const LearnSpec& spec) {
  return [spec](BlockTask& task) { return BlockLearner(spec, task).run(); };
}

}  // namespace lowbit
