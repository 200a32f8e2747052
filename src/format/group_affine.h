// Group-affine integers: the weight format of RTN, GPTQ, AWQ, FRM and most published methods. And,
// in the same types, the value formats (format/value_grid.h), whose codes are looked up in a table:
//
//   w[o][i] = (code[o][i] - zero[o][i / g]) * scale[o][i / g],   code and zero in 0 .. 2^bits - 1
//   w[o][i] = value[code[o][i]] * scale[o][i / g]
//
// On disk (compressed-tensors pack-quantized, docs/formats/group-affine.md): codes as a dense
// little-endian bit stream along each row, in int32 words; zero points likewise down the rows of
// each group column; scales in the model's 16-bit type. Bits 2..8, true width. Value formats:
// docs/formats/value-formats.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"
#include "format/scale.h"
#include "format/scheme.h"

namespace lowbit {

struct GroupAffineWeight {
  std::int64_t out = 0;
  std::int64_t in = 0;
  int bits = 4;
  std::int64_t group_size = 128;  // divides `in`
  bool symmetric = false;         // zeros are all 2^(bits-1) and not stored
  WeightFormat format = WeightFormat::integer;
  DType scale_type = DType::bf16;
  float global_scale = 1;           // of nvfp4; of all others 1
  std::vector<std::uint8_t> codes;  // [out, in]
  std::vector<float> scales;        // [out, groups]; times global_scale exact in scale_type
  std::vector<std::uint8_t> zeros;  // [out, groups]; of value formats without meaning

  std::int64_t groups() const { return in / group_size; }
  std::int64_t stored_bits() const;

  std::vector<float> dequantize() const;  // [out, in]
};

// Bits of all that the file holds for a weight of the scheme; a bias is not counted.
std::int64_t stored_bits(const WeightScheme& scheme, std::int64_t out, std::int64_t in,
                         DType scale_type);

// Codes for given scales and zeros, rounding half to even: code = clamp(round(w / s) + z); of value
// formats the code of the value nearest to w / s. `scales` are first moved onto their grid
// (format/scale.h), so that what is coded is what is stored. No NaN may come in.
GroupAffineWeight quantize_group_affine(
    std::span<const float> weight,  // [out, in]
    std::int64_t out, std::int64_t in, WeightScheme scheme,
    std::span<const float> scales,  // [out, groups]
    std::span<const float> zeros,   // [out, groups], rounded here; of value formats not looked at
    ScaleGrid scale_grid);

// Other scales for the same codes, rounded to `scale_type` as above.
void set_scales(GroupAffineWeight& weight, std::span<const float> scales,  // [out, groups]
                DType scale_type);

// The stored form: words as compressed-tensors has them.
struct PackedGroupAffine {
  std::vector<std::int32_t> weight_packed;  // [out, ceil(in * bits / 32)]
  std::vector<std::byte> weight_scale;      // [out, groups], scale_type
  std::vector<std::int32_t>
      weight_zero_point;  // [ceil(out * bits / 32), groups]; empty if symmetric
};
PackedGroupAffine pack(const GroupAffineWeight& weight);

// The bit streams alone: codes of `bits` each, least significant first, rows padded to whole words.
std::vector<std::int32_t> pack_rows(std::span<const std::uint8_t> codes, std::int64_t rows,
                                    std::int64_t columns, int bits);
std::vector<std::uint8_t> unpack_rows(std::span<const std::int32_t> words, std::int64_t rows,
                                      std::int64_t columns, int bits);
std::int64_t words_per_row(std::int64_t columns, int bits);

// The stream of older writers for 3, 5, 6 and 7 bits: floor(32 / bits) codes a word, none across
// two.
std::vector<std::uint8_t> unpack_rows_whole_codes(std::span<const std::int32_t> words,
                                                  std::int64_t rows, std::int64_t columns,
                                                  int bits);
std::int64_t words_per_row_whole_codes(std::int64_t columns, int bits);

// y[t][o] = sum over groups of scale_w * scale_x * sum (code_w - zero_w)(code_x - zero_x): the
// product on codes, integers within a group, that defines the result of every kernel.
struct QuantizedActivations {
  std::int64_t tokens = 0;
  std::int64_t in = 0;
  std::int64_t group_size = 0;         // `in` when per token
  std::vector<std::int16_t> centered;  // [tokens, in], code - zero
  std::vector<float> scales;           // [tokens, in / group_size]
};
// Dynamic quantization of activations, c being the scheme's clip as float32:
//   s = clamp(c (max - min) / (2^b - 1), 1e-5, 1e4), z = round(clamp(-(c min) / s, -1e4, 1e4)),
//   code = clamp(round(x / s) + z, 0, 2^b - 1); symmetric: s = clamp(c max|x| / (2^(b-1) - 1/2),
//   1e-5, 1e4), z = 2^(b-1). z is not limited to the codes (FRM-PTQ, activation quantiser).
// Static: s is the scheme's scale, z = 2^(b-1).
// Every operation rounds to float32. Both ends are multiplied by c, so a group far from zero, which
// does not contain it, leaves its own range: there c must be 1.
QuantizedActivations quantize_activations(std::span<const float> x,  // [tokens, in]
                                          std::int64_t in, const ActivationScheme& scheme);

void reference_product(const QuantizedActivations& x, const GroupAffineWeight& weight,
                       std::span<float> y);  // [tokens, out]

}  // namespace lowbit
