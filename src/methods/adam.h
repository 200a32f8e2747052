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

// The share of the rate at step `number` of `total`, from 0: half a cosine from 1 to 0.
double cosine_share(std::int64_t number, std::int64_t total);

}  // namespace lowbit
