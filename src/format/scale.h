// The scales of a weight's groups as they are stored: f32, f16, bf16; f8_e4m3; or u8, which stands
// for E8M0, powers of two from 2^-127 to 2^127 without a sign.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/dtype.h"
#include "format/scheme.h"

namespace lowbit {

// The nearest value of the type, for zeros and what rounds to zero its smallest, beyond its end the
// largest: a scale that became zero would lose its group, one that became infinite the whole row.
// Of a type without a sign, of the magnitude. No NaN may come in.
float storable_scale(DType type, float scale);

// Where the scales of a weight may lie: values of the type, divided by the global scale.
struct ScaleGrid {
  DType type;
  float global_scale;

  ScaleGrid(DType stored_type = DType::f32, float divisor = 1)
      : type(stored_type), global_scale(divisor) {}
  float nearest(float scale) const {
    return storable_scale(type, scale * global_scale) / global_scale;
  }
};

// Scales that lie on the grid, to bytes and back. What is read may be anything, NaN too.
std::vector<std::byte> store_scales(std::span<const float> scales, ScaleGrid grid);
std::vector<float> load_scales(std::span<const std::byte> stored, ScaleGrid grid);

// How a format's scales are stored. Of 16 bits as float16, whose 11 bits keep what a search or
// training found, where all of them are normal numbers there; else as bfloat16.
DType scale_type_of(WeightFormat format, std::span<const float> scales);

}  // namespace lowbit
