// Formats of weights whose codes stand for values of a table: w = value(code) * scale of its group.
// (Of integers value(code) is code - zero: format/group_affine.h, which holds both kinds.)
//
//   nvfp4  E2M1, groups of 16, scales E4M3 above 0, divided by one float32 of the whole tensor
//   mxfp4  E2M1, groups of 32, scales powers of two (E8M0)
//   nf4    16 quantiles of the normal distribution, groups of 64, scales of 16 bits
//   fp8    E4M3 (the one without infinities), a float32 scale for each row
//
// Inputs beside weights in nvfp4, mxfp4 and fp8 may be in the same format: they get their scales at
// run time (input_scale), of fp8 one for each token.
//
// docs/formats/value-formats.md has tables and bytes. A format is one line in value_grid.cc, and
// one in quantization_config.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "format/scheme.h"

namespace lowbit {

// The values of an element format. One value has one code: negative zero is read and never written.
class ValueGrid {
 public:
  enum class Ties { even_code, lower_value };  // where a number lies halfway between two values

  // `by_code`: the value of each code; NaN where it has none.
  ValueGrid(std::vector<float> by_code, Ties ties);

  // Of the value nearest to x; beyond the ends the outermost. No NaN may come in.
  std::uint8_t code(float x) const { return codes_[place(x)]; }
  float nearest(float x) const { return values_[place(x)]; }

  float value(std::uint8_t code) const { return by_code_[code]; }
  float largest() const { return values_.back(); }
  std::span<const float> by_code() const { return by_code_; }
  std::span<const float> values() const { return values_; }  // ascending
  // One less than there are values: x is nearest to values()[how many of these lie below x]. A tie
  // that goes to the higher value is the float just before it.
  std::span<const float> boundaries() const {
    return std::span(boundaries_).first(values_.size() - 1);
  }

 private:
  // A binary search without branches, which weights would make unpredictable: on Gaussian values it
  // takes a fifth (16 values) to a third (E4M3) of the time of std::lower_bound.
  std::size_t place(float x) const {
    std::size_t at = 0;
    for (std::size_t step = (boundaries_.size() + 1) / 2; step > 0; step /= 2) {
      at += step * static_cast<std::size_t>(boundaries_[at + step - 1] < x);
    }
    return at;
  }

  std::vector<float> by_code_, values_;
  std::vector<float> boundaries_;    // then infinities, up to one less than a power of two
  std::vector<std::uint8_t> codes_;  // of values_
};

const ValueGrid& e2m1_grid();  // 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives
const ValueGrid& e4m3_grid();  // up to 448; NaN at 0x7F and 0xFF
const ValueGrid& nf4_grid();   // -1 to 1

struct ValueFormat {
  WeightFormat format;
  std::string_view name;  // in recipes
  const ValueGrid& (*grid)();
  WeightScheme scheme;    // what the format decides
  DType scale_type;       // u8: E8M0; bf16: or f16, as scale_type_of says
  bool has_global_scale;  // a float32 of the tensor, by which its scales are divided
  bool for_inputs;
};
const ValueFormat* value_format(WeightFormat format);  // null for integers
std::span<const ValueFormat> value_formats();
const ValueGrid* value_grid(WeightFormat format);  // null for integers

// The global scale of a tensor: its largest value becomes the largest code times the largest scale.
// compressed-tensors stores this number, others its reciprocal. 1 for formats without one.
float global_scale_of(WeightFormat format, float largest_magnitude);

// How an input is quantized to a format that is for inputs; of nvfp4 its scale is not known yet.
ActivationScheme input_scheme(const ValueFormat& format);

// The scale that a group of an input gets, by its largest magnitude: that becomes the largest
// value; of mxfp4 3.5 to 7, whose upper end is clipped (compressed-tensors' rule). Of nvfp4 rounded
// to E4M3 under the global scale. 0, where the type rounds it to that: the group becomes zeros. NaN
// where the magnitude is not finite.
float input_scale(const ValueFormat& format, float largest_magnitude, float global_scale);

}  // namespace lowbit
