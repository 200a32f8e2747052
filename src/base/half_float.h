// bfloat16 and IEEE half: single values and runs of them. Rounding is to nearest, ties to even;
// NaN stays NaN, overflow becomes infinity.
#pragma once

#include <cstdint>
#include <span>

namespace lowbit {

float bf16_to_float(std::uint16_t bits);
std::uint16_t float_to_bf16(float value);
float f16_to_float(std::uint16_t bits);
std::uint16_t float_to_f16(float value);

inline float round_to_bf16(float value) { return bf16_to_float(float_to_bf16(value)); }
inline float round_to_f16(float value) { return f16_to_float(float_to_f16(value)); }

}  // namespace lowbit
