#include "methods/clip.h"

#include <algorithm>
#include <limits>

#include "methods/inputs.h"

namespace lowbit {

namespace {

// `scheme` but for its clip, or the same of its scale where that is fixed.
void set_clip(ActivationScheme& clipped, double ratio, const ActivationScheme& scheme) {
  if (scheme.is_static()) {
    clipped.scale = scheme.scale * static_cast<float>(ratio);
  } else {
    clipped.clip = ratio;
  }
}

}  // namespace

double search_clip(const Tensor& x, const Tensor& weight, const ActivationScheme& scheme) {
  constexpr int kSteps = 20,
                kSmallest = 12;  // twentieths: few ratios are few groups in config.json
  const at::NoGradGuard no_gradient;
  double best = 1;
  double least = std::numeric_limits<double>::infinity();
  ActivationScheme candidate = scheme;
  for (int step = kSteps; step >= kSmallest; --step) {
    const double ratio = static_cast<double>(step) / kSteps;
    set_clip(candidate, ratio, scheme);
    const Tensor lost = (x - fake_quant_activation(x, candidate)).matmul(weight.t());
    const double error = lost.square().sum().item<double>();
    if (!(error < least)) continue;
    least = error;
    best = ratio;
  }
  return best;
}

namespace {

constexpr std::int64_t kWindows = 16;
constexpr std::int64_t kSampledTokens = 2048;  // over these windows

// A sample of every linear's input, from the float weights on the student's stream.
std::vector<std::vector<Tensor>> input_samples(const BlockTask& task) {
  const std::int64_t windows = std::min(kWindows, task.train_windows);
  const std::int64_t tokens = std::max<std::int64_t>(1, kSampledTokens / windows);
  std::vector<std::vector<Tensor>> samples(task.linears.size());
  measure_inputs(
      task, float_query(task, windows, Basis::turned),
      [&](const Tensor& x) { return Measured{sampled_tokens(x, tokens)}; },
      [&](std::span<const std::size_t> alike, const Measured& sample) {
        for (const std::size_t linear : alike) samples[linear].push_back(sample[0]);
      });
  return samples;
}

}  // namespace

BlockPass clip_pass() {
  return [](BlockTask& task) -> Status {
    const auto samples = input_samples(task);
    for (LinearSet set : task.student.spec().input_sets()) {
      std::erase_if(set,
                    [&](std::size_t i) { return !task.linears[i].scheme.activation.quantized(); });
      if (set.empty()) continue;
      std::vector<Tensor> weights;
      for (const std::size_t i : set) weights.push_back(task.student.weight(i));
      const double clip = search_clip(at::cat(samples[set.front()]), at::cat(weights),
                                      task.linears[set.front()].scheme.activation);
      for (const std::size_t i : set) {
        ActivationScheme& activation = task.linears[i].scheme.activation;
        set_clip(activation, clip, activation);
      }
    }
    return task.on_step(0, "clip");
  };
}

}  // namespace lowbit
