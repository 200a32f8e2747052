// Quantize and dequantize in one pass ("fake quantization"), forward and backward, over groups of
// consecutive values. FRM-PTQ's quantizers (frm sheet); EfficientQAT's weight quantizer has the
// same form. Rounding is half to even. Serial over the given range; the caller cuts it over
// threads.
//
// The references are calib's versions in tensor operations; tests compare them.
#pragma once

#include <cstdint>

#include "format/scheme.h"

namespace lowbit {

class ValueGrid;

struct FakeQuantGroups {
  std::int64_t group_size = 128;
  int bits = 4;
  const ValueGrid* values = nullptr;  // of weights in a value format; null: integers
};

// Weights: code = clamp(round(w / s) + z, 0, 2^b - 1), z = clamp(round(zero), 0, 2^b - 1),
// out = (code - z) * s. Groups [begin, end); scale and zero have one value a group, scale > 0.
// Of a value format out = (the value nearest to w / s) * s; it has no gradients.
void fake_quant_weight(FakeQuantGroups how, std::int64_t begin, std::int64_t end,
                       const float* weight, const float* scale, const float* zero, float* out);

// Straight-through gradients, per group: in range d out/d s = round(w/s) - w/s, d out/d z = 0;
// clipped at c: d out/d s = c - z, d out/d z = -s. `upstream` is d loss / d out, and becomes that
// by the weights: itself in range, 0 where clipped.
void fake_quant_weight_backward(FakeQuantGroups how, std::int64_t begin, std::int64_t end,
                                const float* weight, const float* scale, const float* zero,
                                float* upstream, float* scale_gradient, float* zero_gradient);

// Activations: the values of quantize_activations' codes (format/group_affine.h), to the bit. With
// a static scheme whose scale is not known yet, as with a dynamic one. In a value format: s =
// input_scale (format/value_grid.h) of the group, out = (the value nearest to x / s) * s; a group
// with a value that is not finite becomes NaN. `group_size`: a whole token, where that shares its
// scale. `out` may be `x`.
void fake_quant_activation(const ActivationScheme& scheme, std::int64_t group_size,
                           std::int64_t begin, std::int64_t end, const float* x, float* out);

}  // namespace lowbit
