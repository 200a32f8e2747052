#include "kernels/fake_quant.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.h"
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

namespace {

// Floats of a few bits: from `normal` on their steps double with the power of two, below they are
// even.
struct SmallFloats {
  float normal, step;  // step: of values from 1 to 2
  float largest;
};
constexpr SmallFloats kE2m1{.normal = 1.0F, .step = 0.5F, .largest = 6.0F};
constexpr SmallFloats kE4m3{.normal = 0x1p-6F, .step = 0.125F, .largest = 448.0F};

// What ValueGrid::nearest looks up. All but the rounding is exact, and of steps the even number is
// the even code. NaN stays NaN.
LOWBIT_INLINE float nearest_of(SmallFloats floats, float x) {
  const float power = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & 0x7F800000U);
  const float step = (power > floats.normal ? power : floats.normal) * floats.step;
  const float value = std::nearbyintf(x / step) * step;
  const float low = value < -floats.largest ? -floats.largest : value;
  return low > floats.largest ? floats.largest : low;
}

LOWBIT_CLONES
void fake_quant_small_floats(SmallFloats floats, const ValueFormat& format, float global_scale,
                             std::int64_t group_size, std::int64_t groups, const float* x,
                             float* out) {
  for (std::int64_t group = 0; group < groups; ++group, x += group_size, out += group_size) {
    // Magnitudes are ordered as their bits are, and what is not finite lies above them.
    std::uint32_t largest = 0;
    for (std::int64_t i = 0; i < group_size; ++i) {
      largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFU);
    }
    const float scale = input_scale(format, std::bit_cast<float>(largest), global_scale);
    if (scale == 0.0F) {
      std::fill_n(out, group_size, 0.0F);
      continue;
    }
    for (std::int64_t i = 0; i < group_size; ++i) out[i] = nearest_of(floats, x[i] / scale) * scale;
  }
}

LOWBIT_CLONES
void fake_quant_codes(const ActivationScheme& scheme, std::int64_t group_size, std::int64_t groups,
                      const float* x, float* out) {
  const auto clip = static_cast<float>(scheme.clip);
  const float top = static_cast<float>((1 << scheme.bits) - 1);
  const float middle = static_cast<float>(1 << (scheme.bits - 1));
  for (std::int64_t group = 0; group < groups; ++group) {
    const float* values = x + group * group_size;
    float* target = out + group * group_size;
    float low = values[0];
    float high = values[0];
    for (std::int64_t i = 1; i < group_size; ++i) {
      low = values[i] < low ? values[i] : low;
      high = values[i] > high ? values[i] : high;
    }
    float s = scheme.is_static() ? scheme.scale : 0.0F;
    float z = middle;
    if (s > 0.0F) {  // static
    } else if (!scheme.symmetric) {
      s = std::clamp(clip * (high - low) / top, 1e-5F, 1e4F);
      z = std::nearbyintf(std::clamp(-(clip * low) / s, -1e4F, 1e4F));
    } else {
      s = std::clamp(clip * std::max(high, -low) / (middle - 0.5F), 1e-5F, 1e4F);
    }
    for (std::int64_t i = 0; i < group_size; ++i) {
      target[i] = (clamp_code(std::nearbyintf(values[i] / s) + z, top) - z) * s;
    }
  }
}

}  // namespace

void fake_quant_activation(const ActivationScheme& scheme, std::int64_t group_size,
                           std::int64_t begin, std::int64_t end, const float* x, float* out) {
  x += begin * group_size;
  out += begin * group_size;
  const ValueFormat* values = value_format(scheme.format);
  if (values == nullptr) return fake_quant_codes(scheme, group_size, end - begin, x, out);
  CHECK(values->for_inputs && (!scheme.stores_scale() || scheme.scale > 0));
  fake_quant_small_floats(scheme.bits == 8 ? kE4m3 : kE2m1, *values,
                          scheme.stores_scale() ? scheme.scale : 1.0F, group_size, end - begin, x,
                          out);
}

}  // namespace lowbit
