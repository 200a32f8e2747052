#include "format/value_grid.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace lowbit {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Sign, exponent and mantissa, the exponent's bias as IEEE has it, subnormals below.
std::vector<float> small_float(int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  std::vector<float> by_code;
  for (int code = 0; code < 1 << (exponent_bits + mantissa_bits); ++code) {
    const int exponent = std::max(code >> mantissa_bits, 1);
    const int mantissa = code - ((exponent - 1) << mantissa_bits);  // with the leading one, if any
    by_code.push_back(std::ldexp(static_cast<float>(mantissa), exponent - bias - mantissa_bits));
  }
  const std::size_t half = by_code.size();
  for (std::size_t i = 0; i < half; ++i) by_code.push_back(-by_code[i]);
  return by_code;
}

std::vector<float> e4m3_values() {
  std::vector<float> by_code = small_float(4, 3);
  by_code[0x7F] = by_code[0xFF] = kNan;
  return by_code;
}

constexpr std::array kFormats = {
    ValueFormat{WeightFormat::nvfp4,
                "nvfp4",
                e2m1_grid,
                {4, 16, true, WeightFormat::nvfp4},
                DType::f8_e4m3,
                true,
                true},
    ValueFormat{WeightFormat::mxfp4,
                "mxfp4",
                e2m1_grid,
                {4, 32, true, WeightFormat::mxfp4},
                DType::u8,
                false,
                true},
    ValueFormat{WeightFormat::nf4,
                "nf4",
                nf4_grid,
                {4, 64, true, WeightFormat::nf4},
                DType::bf16,
                false,
                false},
    ValueFormat{WeightFormat::fp8,
                "fp8",
                e4m3_grid,
                {8, 0, true, WeightFormat::fp8},
                DType::f32,
                false,
                true},
};

}  // namespace

ValueGrid::ValueGrid(std::vector<float> by_code, Ties ties) : by_code_(std::move(by_code)) {
  for (std::size_t code = 0; code < by_code_.size(); ++code) {
    const bool negative_zero = by_code_[code] == 0.0F && std::signbit(by_code_[code]);
    if (std::isnan(by_code_[code]) || negative_zero) continue;
    codes_.push_back(static_cast<std::uint8_t>(code));
  }
  std::sort(codes_.begin(), codes_.end(),
            [this](std::uint8_t a, std::uint8_t b) { return value(a) < value(b); });
  for (const std::uint8_t code : codes_) values_.push_back(value(code));
  for (std::size_t i = 0; i + 1 < codes_.size(); ++i) {
    const float middle = (values_[i] + values_[i + 1]) / 2;  // exact but for NF4's
    const bool goes_up = ties == Ties::even_code && codes_[i] % 2 != 0;
    boundaries_.push_back(goes_up ? std::nextafter(middle, values_[i]) : middle);
  }
  boundaries_.resize(std::bit_ceil(values_.size()) - 1, std::numeric_limits<float>::infinity());
}

const ValueGrid& e2m1_grid() {
  static const ValueGrid kGrid(small_float(2, 1), ValueGrid::Ties::even_code);
  return kGrid;
}

const ValueGrid& e4m3_grid() {
  static const ValueGrid kGrid(e4m3_values(), ValueGrid::Ties::even_code);
  return kGrid;
}

// Dettmers et al., QLoRA, arXiv 2305.14314, appendix E.
const ValueGrid& nf4_grid() {
  static const ValueGrid kGrid(
      {-1.0F, -0.6961928009986877F, -0.5250730514526367F, -0.39491748809814453F,
       -0.28444138169288635F, -0.18477343022823334F, -0.09105003625154495F, 0.0F,
       0.07958029955625534F, 0.16093020141124725F, 0.24611230194568634F, 0.33791524171829224F,
       0.44070982933044434F, 0.5626170039176941F, 0.7229568362236023F, 1.0F},
      ValueGrid::Ties::lower_value);
  return kGrid;
}

std::span<const ValueFormat> value_formats() { return kFormats; }

const ValueFormat* value_format(WeightFormat format) {
  for (const ValueFormat& known : kFormats) {
    if (known.format == format) return &known;
  }
  CHECK(format == WeightFormat::integer);
  return nullptr;
}

const ValueGrid* value_grid(WeightFormat format) {
  const ValueFormat* values = value_format(format);
  return values == nullptr ? nullptr : &values->grid();
}

float global_scale_of(WeightFormat format, float largest_magnitude) {
  const ValueFormat* values = value_format(format);
  if (values == nullptr || !values->has_global_scale || !(largest_magnitude > 0)) return 1;
  // Bounded, so that a tensor of nearly nothing does not get an infinite one.
  return std::min(e4m3_grid().largest() * values->grid().largest() / largest_magnitude, 0x1p100F);
}

ActivationScheme input_scheme(const ValueFormat& format) {
  CHECK(format.for_inputs);
  const WeightScheme& like = format.scheme;
  return {.bits = like.bits,
          .per = like.group_size == 0 ? ActivationGranularity::token
                                      : ActivationGranularity::token_group,
          .group_size = like.group_size,
          .symmetric = true,
          .format = format.format};
}

float input_scale(const ValueFormat& format, float largest_magnitude, float global_scale) {
  constexpr float kSmallest = 0x1p-126F;  // processors may take what lies below for zero
  if (!std::isfinite(largest_magnitude)) return kNan;
  float scale = largest_magnitude / format.grid().largest();
  if (format.scale_type == DType::f8_e4m3) {
    scale = e4m3_grid().nearest(scale * global_scale) / global_scale;
  } else if (format.scale_type == DType::u8) {  // by the bits: a mantissa from 1.75 on goes up
    const auto bits = std::bit_cast<std::uint32_t>(largest_magnitude / 4);
    scale = std::bit_cast<float>((bits + 0x200000U) & 0x7F800000U);
  }
  return scale < kSmallest ? 0.0F : scale;
}

}  // namespace lowbit
