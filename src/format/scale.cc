#include "format/scale.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/half_float.h"
#include "format/value_grid.h"

namespace lowbit {
namespace {

// The ends of a storage type's range. bf16 and f32 keep out of the subnormals, which processors may
// flush to zero, and so does E8M0; f16 and E4M3 have no room to spare and use them.
struct ScaleRange {
  float smallest;
  float largest;
};

ScaleRange scale_range(DType type) {
  switch (type) {
    case DType::f16:
      return {0x1p-24F, 65504.0F};
    case DType::bf16:
      return {0x1p-126F, bf16_to_float(0x7F7F)};
    case DType::f8_e4m3:
      return {0x1p-9F, 448.0F};
    case DType::u8:
      return {0x1p-126F, 0x1p127F};
    default:
      return {0x1p-126F, 0x1.FFFFFEp127F};
  }
}

// The nearest power of two of a number that is not negative, by its bits; halves go up.
float power_of_two(float value) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) + 0x400000U) & 0x7F800000U);
}

float round_to(DType type, float value) {
  switch (type) {
    case DType::f16:
      return round_to_f16(value);
    case DType::bf16:
      return round_to_bf16(value);
    case DType::f8_e4m3:
      return e4m3_grid().nearest(value);
    case DType::u8:
      return power_of_two(value);
    default:
      return value;
  }
}

bool has_sign(DType type) { return type != DType::u8 && type != DType::f8_e4m3; }

// Biased as float32's own exponent is; of 0 the subnormal 2^-127.
float e8m0_value(std::uint8_t exponent) {
  if (exponent == 0xFF) return std::numeric_limits<float>::quiet_NaN();
  return std::ldexp(1.0F, exponent - 127);
}

}  // namespace

float storable_scale(DType type, float scale) {
  CHECK(!std::isnan(scale));
  const ScaleRange range = scale_range(type);
  const float magnitude =
      std::clamp(round_to(type, std::abs(scale)), range.smallest, range.largest);
  return has_sign(type) ? std::copysign(magnitude, scale) : magnitude;
}

std::vector<std::byte> store_scales(std::span<const float> scales, ScaleGrid grid) {
  const std::size_t width = size_bytes(grid.type);
  std::vector<std::byte> bytes(scales.size() * width);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const float scale = round_to(grid.type, scales[i] * grid.global_scale);
    std::uint32_t bits = std::bit_cast<std::uint32_t>(scale);
    if (grid.type == DType::bf16) bits = float_to_bf16(scale);
    if (grid.type == DType::f16) bits = float_to_f16(scale);
    if (grid.type == DType::f8_e4m3) bits = e4m3_grid().code(scale);
    if (grid.type == DType::u8) bits >>= 23;
    std::memcpy(bytes.data() + i * width, &bits, width);  // little-endian: the low bytes first
  }
  return bytes;
}

std::vector<float> load_scales(std::span<const std::byte> stored, ScaleGrid grid) {
  std::vector<float> scales(stored.size() / size_bytes(grid.type));
  const auto by_byte = [&](auto value) {
    std::transform(stored.begin(), stored.end(), scales.begin(),
                   [&](std::byte byte) { return value(std::to_integer<std::uint8_t>(byte)); });
  };
  if (grid.type == DType::f32) read_f32(stored, scales);
  if (grid.type == DType::bf16) read_bf16(stored, scales);
  if (grid.type == DType::f16) read_f16(stored, scales);
  if (grid.type == DType::u8) by_byte(e8m0_value);
  if (grid.type == DType::f8_e4m3) {
    by_byte([](std::uint8_t code) { return e4m3_grid().value(code); });
  }
  for (float& scale : scales) scale /= grid.global_scale;
  return scales;
}

DType scale_type_of(WeightFormat format, std::span<const float> scales) {
  const ValueFormat* values = value_format(format);
  if (values != nullptr && values->scale_type != DType::bf16) return values->scale_type;
  constexpr float kLowest = 0x1p-14F, kHighest = 65504.0F;
  const bool fits = std::all_of(scales.begin(), scales.end(),
                                [](float s) { return s >= kLowest && s <= kHighest; });
  return fits ? DType::f16 : DType::bf16;
}

}  // namespace lowbit
