#include "methods/training.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lowbit {
namespace {

constexpr double kSmallestShare = 0.01;  // of a scale's start
constexpr double kBeyond = 0.49;         // how far a trained code gets beyond the last one

// `done`: of all steps, 0..1.
double share_of(Decay decay, double done) {
  return decay == Decay::linear ? 1.0 - done : 0.5 * (1.0 + std::cos(std::numbers::pi * done));
}

}  // namespace

WindowRange validation_windows(const HiddenStream& inputs, std::int64_t train_windows) {
  const std::int64_t all = inputs.windows();
  if (all > train_windows) return {.first = train_windows, .last = all};
  return {.first = 0, .last = std::min<std::int64_t>(4, all)};
}

bool clearly_lower(const std::vector<double>& now, const std::vector<double>& before) {
  const auto n = static_cast<double>(now.size());
  double gain = 0;
  for (std::size_t i = 0; i < now.size(); ++i) gain += (before[i] - now[i]) / n;
  double square = 0;
  for (std::size_t i = 0; i < now.size(); ++i) {
    square += (before[i] - now[i] - gain) * (before[i] - now[i] - gain);
  }
  return gain > 0 && gain * gain * n * std::max(n - 1, 1.0) > square;
}

Status train_epoch(const Schedule& schedule, std::int64_t epoch,
                   const std::function<double(const TrainingStep& step)>& step,
                   const std::function<Status(double fraction, double loss)>& on_step,
                   std::vector<std::string>& notices) {
  const std::int64_t steps = (schedule.windows + schedule.batch - 1) / schedule.batch;
  const auto total = static_cast<double>(steps * schedule.epochs);
  std::int64_t skipped = 0;
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t number = epoch * steps + i;
    const std::int64_t first = i * schedule.batch;
    const double done = static_cast<double>(number) / total;
    const double loss = step(
        {.windows = {.first = first, .last = std::min(first + schedule.batch, schedule.windows)},
         .number = number,
         .share = share_of(schedule.decay, done)});
    if (!std::isfinite(loss)) ++skipped;
    if (auto status = on_step(static_cast<double>(number + 1) / total, loss); !status) {
      return status;
    }
  }
  if (skipped > 0) {
    notices.push_back(
        fmt::format("{} of {} steps of epoch {} had a non-finite loss and were skipped", skipped,
                    steps, epoch + 1));
  }
  return {};
}

void step_scale(const Tensor& scale, const Tensor& start, const Tensor& gradient, Moments& moments,
                AdamStep step, const Tensor& unit) {
  adam(scale, gradient, moments, step, unit);
  scale.copy_(at::maximum(scale, start * kSmallestShare));
}

void step_weight(const Tensor& weight, const Tensor& gradient, Moments& moments, AdamStep step,
                 const Tensor& unit) {
  if (!unit.defined()) return adam(weight, gradient, moments, step, {});
  const auto groups = [&](const Tensor& t) { return t.view({unit.size(0), unit.size(1), -1}); };
  adam(groups(weight), groups(gradient), moments, step, unit.unsqueeze(2));
}

void step_codes(const Tensor& codes, const Tensor& gradient, int bits, Moments& moments,
                AdamStep step) {
  adam(codes, gradient, moments, step, {});
  keep_within_codes(codes, bits);
}

void keep_within_codes(const Tensor& codes, int bits) {
  codes.clamp_(-kBeyond, (1 << bits) - 1 + kBeyond);
}

}  // namespace lowbit
