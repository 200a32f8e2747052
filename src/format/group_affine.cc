#include "format/group_affine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/threads.h"
#include "format/scale.h"
#include "format/value_grid.h"

namespace lowbit {
namespace {

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

std::vector<std::uint8_t> transposed(std::span<const std::uint8_t> matrix, std::int64_t rows,
                                     std::int64_t columns) {
  std::vector<std::uint8_t> result(matrix.size());
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      result[index(column * rows + row)] = matrix[index(row * columns + column)];
    }
  }
  return result;
}

}  // namespace

std::int64_t stored_bits(const WeightScheme& scheme, std::int64_t out, std::int64_t in,
                         DType scale_type) {
  constexpr std::int64_t kShapeBits = 128;  // weight_shape: two 64-bit integers
  const std::int64_t groups = scheme.group_size == 0 ? 1 : in / scheme.group_size;
  const std::int64_t code_bits = 32 * out * words_per_row(in, scheme.bits);
  const auto scale_bits = static_cast<std::int64_t>(8 * size_bytes(scale_type)) * out * groups;
  const std::int64_t zero_bits =
      scheme.symmetric ? 0 : 32 * groups * words_per_row(out, scheme.bits);
  const ValueFormat* values = value_format(scheme.format);
  const std::int64_t others = values == nullptr ? kShapeBits : values->has_global_scale ? 32 : 0;
  return code_bits + scale_bits + zero_bits + others;
}

std::int64_t GroupAffineWeight::stored_bits() const {
  return lowbit::stored_bits({bits, group_size, symmetric, format}, out, in, scale_type);
}

std::vector<float> GroupAffineWeight::dequantize() const {
  std::vector<float> weight(index(out * in));
  const ValueGrid* grid = value_grid(format);
  const std::span<const float> values =
      grid != nullptr ? grid->by_code() : std::span<const float>();
  parallel_for(out, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      for (std::int64_t group = 0; group < groups(); ++group) {
        const float scale = scales[index(o * groups() + group)];
        const int zero = zeros[index(o * groups() + group)];
        const std::size_t first = index(o * in + group * group_size);
        for (std::size_t i = first; i < first + index(group_size); ++i) {
          weight[i] =
              (grid != nullptr ? values[codes[i]] : static_cast<float>(codes[i] - zero)) * scale;
        }
      }
    }
  });
  return weight;
}

GroupAffineWeight quantize_group_affine(std::span<const float> weight, std::int64_t out,
                                        std::int64_t in, WeightScheme scheme,
                                        std::span<const float> scales, std::span<const float> zeros,
                                        ScaleGrid scale_grid) {
  CHECK(scheme.bits >= 2 && scheme.bits <= 8);
  GroupAffineWeight result;
  result.out = out;
  result.in = in;
  result.bits = scheme.bits;
  result.group_size = scheme.group_size == 0 ? in : scheme.group_size;
  result.symmetric = scheme.symmetric;
  result.format = scheme.format;
  result.scale_type = scale_grid.type;
  result.global_scale = scale_grid.global_scale;
  CHECK(result.group_size > 0 && in % result.group_size == 0);
  const std::int64_t groups = result.groups();
  CHECK(std::ssize(weight) == out * in && std::ssize(scales) == out * groups);
  CHECK(scheme.symmetric || std::ssize(zeros) == out * groups);

  const ValueGrid* grid = value_grid(scheme.format);
  const auto largest = static_cast<float>((1 << scheme.bits) - 1);
  const auto middle = static_cast<float>(1 << (scheme.bits - 1));
  result.codes.resize(index(out * in));
  result.scales.resize(index(out * groups));
  result.zeros.resize(index(out * groups));
  parallel_for(out, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin * groups; at < end * groups; ++at) {
      const float scale = scale_grid.nearest(scales[index(at)]);
      const float zero =
          scheme.symmetric ? middle : std::clamp(std::nearbyint(zeros[index(at)]), 0.0F, largest);
      CHECK(!std::isnan(zero));
      result.scales[index(at)] = scale;
      result.zeros[index(at)] = static_cast<std::uint8_t>(zero);
      const std::size_t first = index(at * result.group_size);  // groups lie one after the other
      for (std::size_t i = first; i < first + index(result.group_size); ++i) {
        if (grid != nullptr) {
          result.codes[i] = grid->code(weight[i] / scale);
          continue;
        }
        const float code = std::nearbyint(weight[i] / scale) + zero;
        // Written so that a NaN becomes code 0 rather than an undefined conversion.
        result.codes[i] = static_cast<std::uint8_t>(code > 0.0F ? std::min(code, largest) : 0.0F);
      }
    }
  });
  return result;
}

void set_scales(GroupAffineWeight& weight, std::span<const float> scales, DType scale_type) {
  CHECK(scales.size() == weight.scales.size());
  weight.scale_type = scale_type;
  std::transform(scales.begin(), scales.end(), weight.scales.begin(),
                 [&](float scale) { return storable_scale(scale_type, scale); });
}

PackedGroupAffine pack(const GroupAffineWeight& weight) {
  PackedGroupAffine packed;
  packed.weight_packed = pack_rows(weight.codes, weight.out, weight.in, weight.bits);
  packed.weight_scale = store_scales(weight.scales, {weight.scale_type, weight.global_scale});
  if (weight.symmetric) return packed;

  // Zero points run down `out`, one stream a group column: pack the transpose, then turn it back.
  const std::int64_t groups = weight.groups();
  const std::int64_t rows = words_per_row(weight.out, weight.bits);
  const std::vector<std::int32_t> columns =
      pack_rows(transposed(weight.zeros, weight.out, groups), groups, weight.out, weight.bits);
  packed.weight_zero_point.resize(columns.size());
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t group = 0; group < groups; ++group) {
      packed.weight_zero_point[index(row * groups + group)] = columns[index(group * rows + row)];
    }
  }
  return packed;
}

}  // namespace lowbit
