// RMSNorm and LayerNorm over rows, in float32 as transformers computes them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "io/checkpoint.h"
#include "model/model_spec.h"

namespace lowbit {

struct LoadedNorm {
  NormKind kind = NormKind::rms;
  float epsilon = 1e-5F;
  std::vector<float> weight;  // [width]
  std::vector<float> bias;    // [width]; LayerNorm only
};

Result<LoadedNorm> load_norm(const Checkpoint& checkpoint, const ModelSpec& model,
                             const NormSpec& norm, NormKind kind);

// Rows of norm.weight.size() values; `out` may be `x`.
void apply(const LoadedNorm& norm, std::span<const float> x, std::span<float> out);

}  // namespace lowbit
