// The feed-forward part's nonlinearities.
#pragma once

#include <span>

#include "model/model_spec.h"

namespace lowbit {

// x = activation(x), or x = activation(x) * factor where there is a factor (SwiGLU and its kin).
void activate(Activation activation, std::span<float> x, std::span<const float> factor);

}  // namespace lowbit
