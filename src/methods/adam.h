// AdamW (Loshchilov and Hutter, arXiv 1711.05101) with betas 0.9 and 0.999, epsilon 1e-8, no decay.
#pragma once

#include "calib/tensor.h"

namespace lowbit {

struct Moments {  // of one tensor of parameters; undefined before its first step
  Tensor first, second;
};

struct AdamStep {
  double rate = 0;
  std::int64_t number = 1;  // from 1
};

// Changes `parameter` in place. `unit` scales the step of each element; undefined: 1.
void adam(const Tensor& parameter, const Tensor& gradient, Moments& moments, AdamStep step,
          const Tensor& unit);

}  // namespace lowbit
