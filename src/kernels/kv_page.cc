#include "kernels/kv_page.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/half_float.h"
#include "kernels/hadamard.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

std::int64_t half_of(std::int64_t head_dim) { return (head_dim + 1) / 2; }

// Elements of a column of keys or of a row of values: channels, or pairs of them.
std::int64_t elements(const KvPage& page, std::int64_t channels) {
  return page.type == KvType::int4 ? half_of(page.head_dim) : channels;
}

std::int64_t element_bytes(KvType type) {
  return type == KvType::f32 ? 4 : type == KvType::f16 ? 2 : 1;
}

// Where the parts of a page begin, in bytes.
struct Parts {
  std::int64_t keys, values, key_ranges, value_ranges, end;
};

Parts parts_of(const KvPage& page) {
  const std::int64_t size = element_bytes(page.type) * kPagePositions;
  Parts parts{};
  parts.values = elements(page, page.head_dim) * size;
  parts.key_ranges = parts.values + elements(page, page.row()) * size;
  const bool coded = page.type == KvType::int8 || page.type == KvType::int4;
  const std::int64_t ranges = coded ? kPagePositions * 4 : 0;  // scales, then lows
  parts.value_ranges = parts.key_ranges + ranges;
  parts.end = parts.value_ranges + ranges;
  return parts;
}

void put_half(float value, std::byte* to) {
  const std::uint16_t bits = float_to_f16(value);
  std::memcpy(to, &bits, sizeof(bits));
}

struct Range {
  float scale = 1.0F, low = 0.0F;
};

// The range of a row, as it is stored. A row that is not finite gets NaN for a range.
Range range_of(const float* x, std::int64_t count, int bits) {
  float low = x[0], high = x[0];
  bool finite = true;
  for (std::int64_t i = 0; i < count; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
    finite = finite && std::isfinite(x[i]);
  }
  if (!finite) return {.scale = 1.0F, .low = std::numeric_limits<float>::quiet_NaN()};
  constexpr float kLargestHalf = 65504.0F;
  constexpr float kSmallestNormalHalf = 0x1p-14F;  // below it a scale would lose its digits
  low = round_to_f16(std::clamp(low, -kLargestHalf, kLargestHalf));
  const float step = (high - low) / static_cast<float>((1 << bits) - 1);
  return {.scale = round_to_f16(std::clamp(step, kSmallestNormalHalf, kLargestHalf)), .low = low};
}

unsigned code_of(float x, const Range& range, int bits) {
  const float steps = std::nearbyint((x - range.low) / range.scale);
  const auto largest = static_cast<float>((1 << bits) - 1);
  return steps > 0.0F ? static_cast<unsigned>(std::min(steps, largest)) : 0U;  // NaN: 0
}

// One row (stride 1) or one column (stride 64) of codes.
void store_codes(const KvPage& page, const float* x, std::int64_t stride, std::byte* to,
                 std::byte* range_at) {
  const int bits = page.type == KvType::int8 ? 8 : 4;
  const Range range = range_of(x, page.head_dim, bits);
  put_half(range.scale, range_at);
  put_half(range.low, range_at + kPagePositions * 2);
  const std::int64_t half = half_of(page.head_dim);
  for (std::int64_t i = 0; i < elements(page, page.head_dim); ++i) {
    unsigned code = code_of(x[i], range, bits);
    if (bits == 4 && half + i < page.head_dim) code |= code_of(x[half + i], range, bits) << 4;
    to[i * stride] = static_cast<std::byte>(code);
  }
}

// Sixteen codes: the bytes themselves, or one half of each.
LOWBIT_INLINE Floats16 codes16(const std::uint8_t* from, int shift, int mask) {
  using Bytes16 = std::uint8_t __attribute__((vector_size(16)));
  Bytes16 bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  return __builtin_convertvector(__builtin_convertvector(bytes, Ints16) >> shift & mask, Floats16);
}

LOWBIT_CLONES
void halves_to_floats(const std::uint16_t* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = f16_to_float(from[i]);
}

struct Ranges {
  alignas(64) std::array<float, kPagePositions> scale, low;
};

Ranges load_ranges(const std::byte* from) {
  Ranges ranges;
  const auto* halves = reinterpret_cast<const std::uint16_t*>(from);
  halves_to_floats(halves, kPagePositions, ranges.scale.data());
  halves_to_floats(halves + kPagePositions, kPagePositions, ranges.low.data());
  return ranges;
}

// Half a byte or a whole one: the channels from `first` on, of which each byte's bits begin at
// `shift`.
struct CodePart {
  std::int64_t first, count;
  int shift, mask;
};

LOWBIT_CLONES
void decode_keys(const std::uint8_t* codes, const Ranges& ranges, const CodePart& part,
                 float* keys) {
  for (std::int64_t t = 0; t < kPagePositions; t += 16) {
    const Floats16 scale = load16(ranges.scale.data() + t);
    const Floats16 low = load16(ranges.low.data() + t);
    for (std::int64_t d = 0; d < part.count; ++d) {
      const Floats16 code = codes16(codes + d * kPagePositions + t, part.shift, part.mask);
      store16(keys + (part.first + d) * kPagePositions + t, low + scale * code);
    }
  }
}

LOWBIT_CLONES
void decode_values(const std::uint8_t* codes, std::int64_t bytes_a_row, const Ranges& ranges,
                   const CodePart& part, std::int64_t row, float* values) {
  const std::int64_t whole = part.count / 16 * 16;
  for (std::size_t t = 0; t < kPagePositions; ++t) {
    const std::uint8_t* from = codes + static_cast<std::int64_t>(t) * bytes_a_row;
    float* to = values + static_cast<std::int64_t>(t) * row + part.first;
    for (std::int64_t d = 0; d < whole; d += 16) {
      store16(to + d, codes16(from + d, part.shift, part.mask) * ranges.scale[t] + ranges.low[t]);
    }
    for (std::int64_t d = whole; d < part.count; ++d) {
      const auto code = static_cast<float>(from[d] >> part.shift & part.mask);
      to[d] = code * ranges.scale[t] + ranges.low[t];
    }
  }
}

void decode(const KvPage& page, const std::byte* from, float* keys, float* values) {
  const Parts parts = parts_of(page);
  const Ranges key_ranges = load_ranges(from + parts.key_ranges);
  const Ranges value_ranges = load_ranges(from + parts.value_ranges);
  const auto* key_codes = reinterpret_cast<const std::uint8_t*>(from + parts.keys);
  const auto* value_codes = reinterpret_cast<const std::uint8_t*>(from + parts.values);
  const std::int64_t half = half_of(page.head_dim);
  if (page.type == KvType::int8) {
    const CodePart all{0, page.head_dim, 0, 0xFF};
    decode_keys(key_codes, key_ranges, all, keys);
    decode_values(value_codes, page.row(), value_ranges, all, page.row(), values);
    return;
  }
  for (const CodePart& part :
       {CodePart{0, half, 0, 0xF}, CodePart{half, page.head_dim - half, 4, 0xF}}) {
    decode_keys(key_codes, key_ranges, part, keys);
    decode_values(value_codes, half, value_ranges, part, page.row(), values);
  }
}

}  // namespace

std::int64_t KvPage::bytes() const { return (parts_of(*this).end + 63) / 64 * 64; }

void store_position(const KvPage& page, std::int64_t position, const float* key, const float* value,
                    std::byte* to) {
  const Parts parts = parts_of(page);
  const std::int64_t size = element_bytes(page.type);
  std::byte* const key_at = to + parts.keys + position * size;
  std::byte* const value_at = to + parts.values + position * elements(page, page.row()) * size;
  switch (page.type) {
    case KvType::f32:
      for (std::int64_t d = 0; d < page.head_dim; ++d) {
        std::memcpy(key_at + d * kPagePositions * 4, key + d, 4);
      }
      std::memcpy(value_at, value, static_cast<std::size_t>(page.head_dim) * 4);
      return;
    case KvType::f16:
      for (std::int64_t d = 0; d < page.head_dim; ++d) {
        put_half(key[d], key_at + d * kPagePositions * 2);
        put_half(value[d], value_at + d * 2);
      }
      return;
    default:
      store_codes(page, key, kPagePositions, key_at, to + parts.key_ranges + position * 2);
      store_codes(page, value, 1, value_at, to + parts.value_ranges + position * 2);
  }
}

std::int64_t tile_floats(const KvPage& page) {
  return page.type == KvType::f32 ? 0 : (page.head_dim + page.row()) * kPagePositions;
}

KvTile load_page(const KvPage& page, const std::byte* from, float* scratch) {
  const Parts parts = parts_of(page);
  if (page.type == KvType::f32) {
    return {reinterpret_cast<const float*>(from + parts.keys),
            reinterpret_cast<const float*>(from + parts.values)};
  }
  float* const keys = scratch;
  float* const values = scratch + page.head_dim * kPagePositions;
  if (page.type == KvType::f16) {
    const auto* halves = reinterpret_cast<const std::uint16_t*>(from);
    halves_to_floats(halves, (page.head_dim + page.row()) * kPagePositions, scratch);
  } else {
    decode(page, from, keys, values);
  }
  return {keys, values};
}

void hadamard(float* x, std::int64_t count) {
  hadamard_rows({x, static_cast<std::size_t>(count)}, count & -count);
}

}  // namespace lowbit
