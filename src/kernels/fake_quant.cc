#include "kernels/fake_quant.h"

#include <algorithm>
#include <cmath>

#include "format/value_grid.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

// nearbyint is half to even in the default mode and vectorises as one instruction.
LOWBIT_INLINE float clamp_code(float code, float top) {
  code = code < 0.0F ? 0.0F : code;
  return code > top ? top : code;
}

void fake_quant_values(FakeQuantGroups how, std::int64_t begin, std::int64_t end,
                       const float* weight, const float* scale, float* out) {
  for (std::int64_t i = begin * how.group_size; i < end * how.group_size; ++i) {
    const float s = scale[i / how.group_size];
    out[i] = how.values->nearest(weight[i] / s) * s;
  }
}

}  // namespace

LOWBIT_CLONES
void fake_quant_weight(FakeQuantGroups how, std::int64_t begin, std::int64_t end,
                       const float* weight, const float* scale, const float* zero, float* out) {
  if (how.values != nullptr) return fake_quant_values(how, begin, end, weight, scale, out);
  const float top = static_cast<float>((1 << how.bits) - 1);
  for (std::int64_t group = begin; group < end; ++group) {
    const float* w = weight + group * how.group_size;
    float* target = out + group * how.group_size;
    const float s = scale[group];
    const float z = clamp_code(std::nearbyintf(zero[group]), top);
    for (std::int64_t i = 0; i < how.group_size; ++i) {
      target[i] = (clamp_code(std::nearbyintf(w[i] / s) + z, top) - z) * s;
    }
  }
}

LOWBIT_CLONES
void fake_quant_weight_backward(FakeQuantGroups how, std::int64_t begin, std::int64_t end,
                                const float* weight, const float* scale, const float* zero,
                                float* upstream, float* scale_gradient, float* zero_gradient) {
  const float top = static_cast<float>((1 << how.bits) - 1);
  for (std::int64_t group = begin; group < end; ++group) {
    const float* w = weight + group * how.group_size;
    float* g = upstream + group * how.group_size;
    const float s = scale[group];
    const float z = clamp_code(std::nearbyintf(zero[group]), top);
    float for_scale = 0.0F;
    float for_zero = 0.0F;
    for (std::int64_t i = 0; i < how.group_size; ++i) {
      const float steps = w[i] / s;
      const float rounded = std::nearbyintf(steps);
      const float centered = clamp_code(rounded + z, top) - z;  // equals `rounded` in range
      const float inside = centered == rounded ? 1.0F : 0.0F;   // arithmetic, so that it vectorises
      for_scale += g[i] * (centered - inside * steps);
      for_zero += g[i] * (1.0F - inside);
      g[i] *= inside;
    }
    scale_gradient[group] = for_scale;
    zero_gradient[group] = -s * for_zero;
  }
}

LOWBIT_CLONES
void fake_quant_activation(FakeQuantGroups how, ActivationGrid grid, std::int64_t begin,
                           std::int64_t end, const float* x, float* out) {
  const float top = static_cast<float>((1 << how.bits) - 1);
  const float middle = static_cast<float>(1 << (how.bits - 1));
  for (std::int64_t group = begin; group < end; ++group) {
    const float* values = x + group * how.group_size;
    float* target = out + group * how.group_size;
    float low = values[0];
    float high = values[0];
    for (std::int64_t i = 1; i < how.group_size; ++i) {
      low = values[i] < low ? values[i] : low;
      high = values[i] > high ? values[i] : high;
    }
    float s = grid.scale;
    float z = middle;
    if (s > 0.0F) {  // static
    } else if (!grid.symmetric) {
      s = std::clamp(grid.clip * (high - low) / top, 1e-5F, 1e4F);
      z = std::nearbyintf(std::clamp(-(grid.clip * low) / s, -1e4F, 1e4F));
    } else {
      s = std::clamp(grid.clip * std::max(high, -low) / (middle - 0.5F), 1e-5F, 1e4F);
    }
    for (std::int64_t i = 0; i < how.group_size; ++i) {
      target[i] = (clamp_code(std::nearbyintf(values[i] / s) + z, top) - z) * s;
    }
  }
}

}  // namespace lowbit
