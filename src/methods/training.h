// What the trainers of a block and of a whole model share: epochs of steps, the windows that
// validate, and the steps of quantized weights.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "calib/stream.h"
#include "methods/adam.h"

namespace lowbit {

struct WindowRange {
  std::int64_t first = 0, last = 0;
};

// Those after the training windows; where there are none, the first training windows, 4 at most.
WindowRange validation_windows(const HiddenStream& inputs, std::int64_t train_windows);

// Whether losses of windows are lower than those of the same windows before, by more than the
// standard error of the mean of what separates them (of one window: lower). Never where one is not
// finite.
bool clearly_lower(const std::vector<double>& now, const std::vector<double>& before);

enum class Decay { cosine, linear };  // of the rates, over all epochs, from 1 to 0

struct Schedule {
  std::int64_t windows = 0, batch = 1, epochs = 1;
  Decay decay = Decay::cosine;
};

struct TrainingStep {
  WindowRange windows;
  std::int64_t number = 0;  // from 0, over all epochs
  double share = 1;         // of the rates, by the schedule's decay
};

// The steps of one epoch. `step` returns its loss, and changes nothing where that is not finite;
// how often that was is added to `notices`. An error from `on_step` ends the epoch.
Status train_epoch(const Schedule& schedule, std::int64_t epoch,
                   const std::function<double(const TrainingStep& step)>& step,
                   const std::function<Status(double fraction, double loss)>& on_step,
                   std::vector<std::string>& notices);

// A step of scales [out, groups], which never fall below a hundredth of their start: a step too far
// must not end in 0. `unit` as adam's.
void step_scale(const Tensor& scale, const Tensor& start, const Tensor& gradient, Moments& moments,
                AdamStep step, const Tensor& unit);
// The same of the weights [out, in] that are rounded; `unit` [out, groups].
void step_weight(const Tensor& weight, const Tensor& gradient, Moments& moments, AdamStep step,
                 const Tensor& unit);

// The same of codes [out, in] that are trained as real numbers, in steps.
void step_codes(const Tensor& codes, const Tensor& gradient, int bits, Moments& moments,
                AdamStep step);
// Moves them to where they round to a code of so many bits.
void keep_within_codes(const Tensor& codes, int bits);

}  // namespace lowbit
