// bfloat16 and IEEE half: single values and runs of them. Rounding is to nearest, ties to even;
// NaN stays NaN (with the bits of its payload that fit), overflow becomes infinity.
//
// The single conversions are inline and without branches on the way to float, so that loops over
// them become vector code on any processor.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace lowbit {

inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline float f16_to_float(std::uint16_t bits) {
  constexpr std::uint32_t kSmallestNormal = 113u << 23;  // 2^-14 as float
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  const std::uint32_t shifted = magnitude << 13;
  // A subnormal's fraction is put behind 2^-14 and that one taken away again, which is exact.
  const float subnormal =
      std::bit_cast<float>(shifted + kSmallestNormal) - std::bit_cast<float>(kSmallestNormal);
  const std::uint32_t rebias = magnitude >= 0x7c00u ? 224u << 23 : 112u << 23;
  const std::uint32_t result =
      magnitude < 0x0400u ? std::bit_cast<std::uint32_t>(subnormal) : shifted + rebias;
  return std::bit_cast<float>(result | sign);
}

std::uint16_t float_to_bf16(float value);
std::uint16_t float_to_f16(float value);

inline float round_to_bf16(float value) { return bf16_to_float(float_to_bf16(value)); }
inline float round_to_f16(float value) { return f16_to_float(float_to_f16(value)); }

// Runs of stored little-endian values, at any alignment (safetensors promises none). `values` has
// one element for each two (four) bytes. True when all are finite.
bool read_bf16(std::span<const std::byte> stored, std::span<float> values);
bool read_f16(std::span<const std::byte> stored, std::span<float> values);
bool read_f32(std::span<const std::byte> stored, std::span<float> values);

}  // namespace lowbit
