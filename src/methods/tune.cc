#include "methods/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "calib/windows.h"
#include "methods/block_gradient.h"
#include "methods/kl_loss.h"
#include "methods/training.h"

namespace lowbit {
namespace {

constexpr std::int64_t kHeadRows = 256;  // tokens whose logits exist at a time
// Of the way that training went. What it learned grows with the way, the noise of its steps with
// the square of it: where the whole way is too far, a part of it may not be.
constexpr std::array kShares = {1.0, 0.5, 0.25, 0.125};

using Values = std::vector<std::vector<Tensor>>;  // all that is trained, of each block

struct TunedWeight {
  std::size_t linear = 0;
  Tensor codes;  // [out, in]: bytes, or where they are trained real numbers, which start as codes
  Tensor zero, scale, start;  // [out, groups]
  Moments of_scale, of_codes;
};

struct TunedGain {
  std::string name;
  Tensor value, start;
  Moments moments;
};

struct BlockState {
  std::vector<TunedWeight> weights;
  std::vector<TunedGain> gains;
};

struct HeadLoss {
  double kl = 0;    // nats a token
  Tensor gradient;  // by the last block's output
};

using Divergences = std::vector<double>;  // of windows, nats a token

double mean_of(const Divergences& windows) {
  return std::accumulate(windows.begin(), windows.end(), 0.0) / static_cast<double>(windows.size());
}

class ModelTuner {
 public:
  ModelTuner(const TuneSpec& spec, ModelTask& task)
      : spec_(spec),
        task_(task),
        precision_(has_fast_bfloat16(task.device) ? Precision::bfloat16 : Precision::float32) {
    for (TunedBlock& block : task.blocks) states_.push_back(start_of(block));
  }

  Status run() {
    const Result<Divergences> before = validate();
    if (!before) return before.error();
    const Values start = values();
    Values found = start;
    double best = std::numeric_limits<double>::infinity();
    for (std::int64_t epoch = 0; epoch < spec_.epochs; ++epoch) {
      if (auto status = train(epoch); !status) return status;
      const Result<Divergences> now = validate();
      if (!now) return now.error();
      if (!(mean_of(*now) < best)) continue;
      best = mean_of(*now);
      found = values();
    }
    best = mean_of(*before);
    double kept = 0;
    for (const double share : kShares) {
      const Result<Divergences> now = store(start, found, share);
      if (!now) return now.error();
      if (!clearly_lower(*now, *before) || !(mean_of(*now) < best)) continue;
      best = mean_of(*now);
      kept = share;
    }
    const Result<Divergences> after = store(start, found, kept);
    if (!after) return after.error();
    if (kept == 0) {
      task_.report.notices.emplace_back("training made the model no better; it is left as it was");
    } else if (kept < 1) {
      task_.report.notices.push_back(
          fmt::format("training went too far; {:g} of its way is kept", kept));
    }
    task_.report.kl_before = mean_of(*before);
    task_.report.kl_after = mean_of(*after);
    return {};
  }

 private:
  BlockState start_of(TunedBlock& block) const {
    BlockState state;
    for (std::size_t i = 0; i < block.packed.size(); ++i) {
      if (!block.packed[i]) continue;
      const GroupAffineWeight& packed = *block.packed[i];
      const auto bytes = [&](const std::vector<std::uint8_t>& values, std::int64_t columns) {
        return at::tensor(at::ArrayRef<std::uint8_t>(values), at::kByte)
            .view({packed.out, columns})
            .to(task_.device);
      };
      TunedWeight weight;
      weight.linear = i;
      weight.codes = bytes(packed.codes, packed.in);
      if (spec_.code_rate > 0) weight.codes = weight.codes.to(at::kFloat);
      weight.zero = bytes(packed.zeros, packed.groups()).to(at::kFloat);
      weight.scale = to_tensor(packed.scales, {packed.out, packed.groups()}).to(task_.device);
      weight.start = weight.scale.clone();
      state.weights.push_back(std::move(weight));
    }
    if (spec_.norm_rate <= 0) return state;
    for (const NormSpec* norm : block.student.spec().norms()) {
      const std::string name = norm->name + ".weight";
      const Tensor value = block.student.floats().at(name).clone();
      block.student.set_floats({{name, value}});  // shares it: a step changes the block
      state.gains.push_back({.name = name, .value = value, .start = value.clone(), .moments = {}});
    }
    return state;
  }

  // All that is trained, as it is now.
  Values values() const {
    Values all;
    for (const BlockState& state : states_) {
      std::vector<Tensor> values;
      for (const TunedWeight& weight : state.weights) {
        values.push_back(weight.scale.clone());
        if (spec_.code_rate > 0) values.push_back(weight.codes.clone());
      }
      for (const TunedGain& gain : state.gains) values.push_back(gain.value.clone());
      all.push_back(std::move(values));
    }
    return all;
  }

  // Makes what lies at this share of the way between two states the packed model's, rounded as it
  // keeps them; returns its divergences.
  Result<Divergences> store(const Values& from, const Values& to, double share) {
    for (std::size_t b = 0; b < states_.size(); ++b) {
      TunedBlock& block = task_.blocks[b];
      std::size_t at = 0;
      const auto next = [&] {
        const Tensor value = at::lerp(from[b][at], to[b][at], share);
        ++at;
        return value;
      };
      for (TunedWeight& weight : states_[b].weights) {
        GroupAffineWeight& packed = *block.packed[weight.linear];
        const std::vector<float> scales = to_floats(next());
        const DType type = scale_type_of(packed.format, scales);
        if (spec_.code_rate > 0) {
          weight.codes.copy_(next());
          const std::vector<float> codes = to_floats(weight.codes.round());
          std::transform(codes.begin(), codes.end(), packed.codes.begin(),
                         [](float code) { return static_cast<std::uint8_t>(code); });
        }
        set_scales(packed, scales, type);
        weight.scale.copy_(to_tensor(packed.scales, weight.scale.sizes().vec()));
      }
      TorchBlock::Floats floats;
      for (const TunedGain& gain : states_[b].gains) floats[gain.name] = next();
      auto stored = task_.as_stored(std::move(floats));
      if (!stored) return stored.error();
      block.student.set_floats(*stored);
    }
    return validate();
  }

  static GroupParameters parameters_of(const TunedWeight& weight) {
    const auto groups = weight.codes.view({weight.codes.size(0), weight.zero.size(1), -1});
    return {.scale = weight.scale,
            .zero = weight.zero,
            .centered =
                (groups.to(at::kFloat).round() - weight.zero.unsqueeze(2)).view_as(weight.codes)};
  }

  // Of the block's products, decoded.
  std::vector<Tensor> weights_of(std::size_t b) const {
    const auto type = precision_ == Precision::bfloat16 ? at::kBFloat16 : at::kFloat;
    const TunedBlock& block = task_.blocks[b];
    std::vector<Tensor> weights;
    for (std::size_t i = 0; i < block.packed.size(); ++i)
      weights.push_back(block.student.weight(i));
    for (const TunedWeight& weight : states_[b].weights) {
      const GroupParameters p = parameters_of(weight);
      weights[weight.linear] =
          fake_quant_weight(p.centered, p, block.linears[weight.linear].scheme.weight);
    }
    for (Tensor& weight : weights) weight = weight.to(type);
    return weights;
  }

  // One block's outputs for the inputs of windows [first, first + inputs.size()).
  std::vector<Tensor> forward(std::size_t b, const std::vector<Tensor>& inputs) const {
    const at::NoGradGuard no_gradient;
    const TunedBlock& block = task_.blocks[b];
    const std::vector<Tensor> weights = weights_of(b);
    const auto products = student_products(block.student, block.linears, weights, precision_);
    std::vector<Tensor> outputs(inputs.size());
    for_windows(task_.device, 0, std::ssize(inputs), [&](std::int64_t w) {
      const auto at = static_cast<std::size_t>(w);
      outputs[at] = block.student.forward(inputs[at], products);
    });
    return outputs;
  }

  std::vector<Tensor> embedded(std::int64_t first, std::int64_t last) const {
    std::vector<Tensor> inputs;
    for (std::int64_t w = first; w < last; ++w) inputs.push_back(task_.inputs.get(w, task_.device));
    return inputs;
  }

  // The divergence of a window whose last block put out `hidden`; its gradient where asked for.
  HeadLoss head_loss(std::int64_t window, const Tensor& hidden, bool with_gradient) const {
    const at::AutoGradMode mode(with_gradient);
    const Tensor leaf = hidden.detach().requires_grad_(with_gradient);
    const Tensor input = task_.head.input(leaf);
    const Tensor source = task_.source_head.input(task_.targets.get(window, task_.device));
    const std::int64_t tokens = hidden.size(0);
    const double share = 1.0 / static_cast<double>(tokens);
    HeadLoss loss;
    std::vector<Tensor> by_input;
    for (std::int64_t first = 0; first < tokens; first += kHeadRows) {
      const at::NoGradGuard no_gradient;
      const std::int64_t last = std::min(first + kHeadRows, tokens);
      const KlLoss kl = kl_loss(task_.head.logits(input.slice(0, first, last)),
                                task_.source_head.logits(source.slice(0, first, last)), spec_.top);
      loss.kl += kl.sum * share;
      if (with_gradient) by_input.push_back(task_.head.backward(kl.gradient * share));
    }
    if (!with_gradient || !std::isfinite(loss.kl)) return loss;
    input.backward(at::cat(by_input));
    loss.gradient = leaf.grad();
    return loss;
  }

  std::vector<HeadLoss> head_losses(std::int64_t first, const std::vector<Tensor>& hidden,
                                    bool with_gradient) const {
    std::vector<HeadLoss> losses(hidden.size());
    for_windows(task_.device, 0, std::ssize(hidden), [&](std::int64_t w) {
      const auto at = static_cast<std::size_t>(w);
      losses[at] = head_loss(first + w, hidden[at], with_gradient);
    });
    return losses;
  }

  // Of the validation windows (the first training windows when there are none).
  Result<Divergences> validate() const {
    const auto [begin, end] = validation_windows(task_.inputs, task_.train_windows);
    const std::int64_t at_once = windows_at_once(task_.device);
    Divergences found;
    for (std::int64_t first = begin; first < end; first += at_once) {
      const std::int64_t last = std::min(first + at_once, end);
      std::vector<Tensor> hidden = embedded(first, last);
      for (std::size_t b = 0; b < states_.size(); ++b) hidden = forward(b, hidden);
      for (const HeadLoss& loss : head_losses(first, hidden, false)) found.push_back(loss.kl);
      if (auto status = task_.on_step(done_, "validation"); !status) return status.error();
    }
    return found;
  }

  Status train(std::int64_t epoch) {
    const auto on_step = [&](double fraction, double loss) {
      done_ = fraction;
      return task_.on_step(fraction, fmt::format("KL {:.5f}", loss));
    };
    return train_epoch(
        {.windows = task_.train_windows, .batch = spec_.batch, .epochs = spec_.epochs}, epoch,
        [&](const TrainingStep& now) { return train_step(now.windows, now.share); }, on_step,
        task_.report.notices);
  }

  // Returns the mean loss before the step; nothing is changed where it is not finite.
  double train_step(WindowRange windows, double cosine) {
    const auto [first, last] = windows;
    std::vector<std::vector<Tensor>> inputs = {embedded(first, last)};  // of each block
    for (std::size_t b = 0; b < states_.size(); ++b) inputs.push_back(forward(b, inputs.back()));
    const std::vector<HeadLoss> losses = head_losses(first, inputs.back(), true);
    Divergences divergences;
    std::vector<Tensor> by_output;
    for (const HeadLoss& window : losses) {
      divergences.push_back(window.kl);
      by_output.push_back(window.gradient);
    }
    const double loss = mean_of(divergences);
    if (!std::isfinite(loss)) return loss;
    ++updates_;
    for (std::size_t b = states_.size(); b-- > 0; inputs.pop_back()) {
      by_output = step_block(b, inputs[b], by_output, cosine);
    }
    return loss;
  }

  // Trains one block; returns the gradients by its inputs, as it was before.
  std::vector<Tensor> step_block(std::size_t b, const std::vector<Tensor>& inputs,
                                 const std::vector<Tensor>& by_output, double cosine) {
    const TunedBlock& block = task_.blocks[b];
    BlockState& state = states_[b];
    GradientQuery query{.linears = block.linears,
                        .weights = {},
                        .gains = {},
                        .input = true,
                        .precision = precision_};
    for (const TunedWeight& weight : state.weights) query.weights.push_back(weight.linear);
    for (const TunedGain& gain : state.gains) query.gains.push_back(gain.name);
    const std::vector<Tensor> weights = weights_of(b);
    std::vector<BlockGradient> found(inputs.size());
    for_windows(task_.device, 0, std::ssize(inputs), [&](std::int64_t w) {
      const auto at = static_cast<std::size_t>(w);
      found[at] = block_gradient(block.student, query, weights, inputs[at],
                                 [&](const Tensor&) { return by_output[at]; });
    });
    const BlockGradient mean = mean_of(found);
    const at::NoGradGuard no_gradient;
    for (std::size_t i = 0; i < state.weights.size(); ++i) {
      TunedWeight& weight = state.weights[i];
      const GroupParameters p = parameters_of(weight);
      const WeightScheme& scheme = block.linears[weight.linear].scheme.weight;
      const FakeQuantGradient gradient =
          fake_quant_weight_backward(p.centered, p, scheme, mean.weights[i]);
      if (spec_.code_rate > 0) {
        step_codes(weight.codes, gradient.codes, scheme.bits, weight.of_codes,
                   {.rate = spec_.code_rate * cosine, .number = updates_});
      }
      step_scale(weight.scale, weight.start, gradient.scale, weight.of_scale,
                 {.rate = spec_.scale_rate * cosine, .number = updates_}, weight.start);
    }
    for (std::size_t i = 0; i < state.gains.size(); ++i) {
      TunedGain& gain = state.gains[i];
      adam(gain.value, mean.gains[i], gain.moments,
           {.rate = spec_.norm_rate * cosine, .number = updates_}, gain.start.abs());
    }
    std::vector<Tensor> by_input;
    for (const BlockGradient& window : found) by_input.push_back(window.input);
    return by_input;
  }

  const TuneSpec& spec_;
  ModelTask& task_;
  Precision precision_;
  std::vector<BlockState> states_;
  std::int64_t updates_ = 0;
  double done_ = 0;
};

}  // namespace

ModelPass tune_pass(const TuneSpec& spec) {
  return [spec](ModelTask& task) { return ModelTuner(spec, task).run(); };
}

}  // namespace lowbit
