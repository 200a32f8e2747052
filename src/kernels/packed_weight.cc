#include "kernels/packed_weight.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/half_float.h"
#include "base/threads.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

struct LayoutBits {
  int bits;
  std::int64_t inputs;  // of a chunk: groups are whole chunks
};
constexpr std::array<LayoutBits, 4> kLayouts = {{{2, 16}, {3, 32}, {4, 8}, {8, 4}}};

// Puts one code into a zeroed chunk.
void put(std::uint8_t* chunk, int bits, std::int64_t row, std::int64_t k, unsigned code) {
  std::uint8_t* const byte = chunk + row * 4 + k % 4;
  const auto set = [](std::uint8_t& to, unsigned value, std::int64_t shift) {
    to = static_cast<std::uint8_t>(to | value << shift);
  };
  const std::int64_t step = k / 4;
  if (bits == 3) {
    set(byte[64 * (step / 4)], code & 3U, 2 * (step % 4));
    set(byte[128], code >> 2, step);
  } else {
    set(*byte, code, bits == 8 ? 0 : bits * step);
  }
}

void store_scale(DType type, float scale, std::byte* to) {
  if (type == DType::f32) {
    std::memcpy(to, &scale, sizeof(scale));
    return;
  }
  const std::uint16_t bits = type == DType::f16 ? float_to_f16(scale) : float_to_bf16(scale);
  std::memcpy(to, &bits, sizeof(bits));
}

// The codes have no value yet: each thread is the first to touch its own.
PackedWeight empty_weight(std::int64_t out, std::int64_t in, std::int64_t group_size, int bits,
                          DType scale_type) {
  PackedWeight packed{.out = out,
                      .in = in,
                      .group_size = group_size,
                      .bits = bits,
                      .scale_type = scale_type,
                      .codes = {},
                      .scales = {},
                      .zeros = {}};
  const auto groups = static_cast<std::size_t>(packed.panels() * packed.groups());
  packed.codes.resize(groups * static_cast<std::size_t>(packed.group_bytes()));
  packed.scales.assign(groups * kPanelRows * size_bytes(scale_type), std::byte{0});
  packed.zeros.assign(groups * kPanelRows, 0);
  return packed;
}

std::optional<int> layout_bits(int bits, std::int64_t group_size) {
  for (const LayoutBits& layout : kLayouts) {
    if (layout.bits >= bits && group_size % layout.inputs == 0) return layout.bits;
  }
  return std::nullopt;
}

std::int64_t chunk_inputs(int bits) {
  return std::find_if(kLayouts.begin(), kLayouts.end(),
                      [&](const LayoutBits& layout) { return layout.bits == bits; })
      ->inputs;
}

// Stored words to lanes, for eight rows at once: element i of a vector is of row i. (Sixteen in one
// vector would go through memory on AVX2.) A chunk is one word a row, of 3 bits three.
using Words8 = std::uint32_t __attribute__((vector_size(32)));

// Four codes next to each other to one a byte.
LOWBIT_INLINE Words8 spread_4_bits(Words8 x) {
  x = (x | x << 8) & 0x00FF00FF;
  return (x | x << 4) & 0x0F0F0F0F;
}
LOWBIT_INLINE Words8 spread_3_bits(Words8 x) {
  x = (x | x << 10) & 0x003F003F;
  return (x | x << 5) & 0x07070707;
}
LOWBIT_INLINE Words8 spread_2_bits(Words8 x) {
  x = (x | x << 12) & 0x000F000F;
  return (x | x << 6) & 0x03030303;
}

template <int kBits>
LOWBIT_INLINE void arrange_chunk(const Words8* words, Words8* lanes) {
  const Words8 w = words[0];
  if constexpr (kBits == 8) {
    lanes[0] = w;
  } else if constexpr (kBits == 4) {
    lanes[0] = spread_4_bits(w & 0xFFFF) | spread_4_bits(w >> 16) << 4;
  } else if constexpr (kBits == 2) {
    lanes[0] = spread_2_bits(w & 0xFF) | spread_2_bits(w >> 8 & 0xFF) << 2 |
               spread_2_bits(w >> 16 & 0xFF) << 4 | spread_2_bits(w >> 24) << 6;
  } else {
    const Words8 v = words[1];
    const Words8 u = words[2];
    const Words8 twelve[8] = {w,       w >> 12,          w >> 24 | v << 8, v >> 4,
                              v >> 16, v >> 28 | u << 4, u >> 8,           u >> 20};
    lanes[0] = lanes[1] = lanes[2] = Words8{};
    for (int step = 0; step < 8; ++step) {
      const Words8 codes = spread_3_bits(twelve[step] & 0xFFF);
      lanes[step / 4] |= (codes & 0x03030303) << 2 * (step % 4);
      lanes[2] |= (codes >> 2 & 0x01010101) << step;
    }
  }
}

// Sixteen stored rows, some bytes at a time: rows lie a power of two apart, so that their lines
// drive each other out of the first cache if they are read a word at a time.
constexpr std::int64_t kRowPart = 192;  // whole lines, whole chunks of 3 bits
using RowParts = std::byte[kPanelRows][kRowPart];

// The part of each of `rows` rows from `at` on; its bytes.
LOWBIT_INLINE std::int64_t read_parts(const std::byte* first, std::int64_t row_bytes,
                                      std::int64_t rows, std::int64_t at, RowParts& parts) {
  const std::int64_t bytes = std::min(kRowPart, row_bytes - at);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::memcpy(parts[r], first + r * row_bytes + at, static_cast<std::size_t>(bytes));
  }
  return bytes;
}

LOWBIT_INLINE Words8 words_at(const std::byte (*rows)[kRowPart], std::int64_t at) {
  std::uint32_t word[8];
  for (int r = 0; r < 8; ++r) std::memcpy(&word[r], rows[r] + at, 4);
  return Words8{word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]};
}

template <int kBits>
LOWBIT_INLINE std::uint8_t* arrange_parts(const RowParts& parts, std::int64_t bytes,
                                          std::uint8_t* to) {
  constexpr int kWords = kBits == 3 ? 3 : 1;
  for (std::int64_t at = 0; at < bytes; at += 4 * kWords, to += 64 * kWords) {
    for (std::int64_t half = 0; half < 2; ++half) {
      Words8 words[kWords], lanes[kWords];
      for (int i = 0; i < kWords; ++i) words[i] = words_at(parts + 8 * half, at + 4 * i);
      arrange_chunk<kBits>(words, lanes);
      for (int i = 0; i < kWords; ++i) {
        std::memcpy(to + 64 * i + 32 * half, &lanes[i], sizeof(Words8));
      }
    }
  }
  return to;
}

// One panel. Rows past the end are zeros.
LOWBIT_CLONES
void arrange_words(const std::byte* words, std::int64_t row_bytes, std::int64_t rows, int bits,
                   std::uint8_t* to) {
  RowParts parts = {};
  for (std::int64_t at = 0; at < row_bytes; at += kRowPart) {
    const std::int64_t bytes = read_parts(words, row_bytes, rows, at, parts);
    if (bits == 2) to = arrange_parts<2>(parts, bytes, to);
    if (bits == 3) to = arrange_parts<3>(parts, bytes, to);
    if (bits == 4) to = arrange_parts<4>(parts, bytes, to);
    if (bits == 8) to = arrange_parts<8>(parts, bytes, to);
  }
}

void arrange_halves(const std::byte* values, std::int64_t row_bytes, std::int64_t rows,
                    std::uint8_t* to) {
  RowParts parts = {};
  for (std::int64_t at = 0; at < row_bytes; at += kRowPart) {
    const std::int64_t bytes = read_parts(values, row_bytes, rows, at, parts);
    for (std::int64_t i = 0; i < bytes; i += 2, to += 2 * kPanelRows) {
      for (std::int64_t r = 0; r < kPanelRows; ++r) std::memcpy(to + 2 * r, parts[r] + i, 2);
    }
  }
}

}  // namespace

std::optional<PackedWeight> arrange(const StoredGroupAffine& weight, std::int64_t group_size) {
  if (weight.format != WeightFormat::integer) return std::nullopt;
  if (group_size == 0) group_size = weight.group_size;
  CHECK(weight.group_size % group_size == 0);
  const auto bits = layout_bits(weight.bits, group_size);
  if (bits != weight.bits || !weight.dense) return arrange(weight.unpack(), group_size);
  PackedWeight packed = empty_weight(weight.out, weight.in, group_size, *bits, weight.scale_type);
  const std::int64_t shares = weight.group_size / group_size;
  const std::int64_t row_bytes = 4 * words_per_row(weight.in, weight.bits);
  const std::size_t scale_bytes = size_bytes(weight.scale_type);
  parallel_for(packed.panels(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      const std::int64_t row = panel * kPanelRows;
      const std::int64_t rows = std::min(kPanelRows, weight.out - row);
      arrange_words(weight.words.data() + row * row_bytes, row_bytes, rows, *bits,
                    packed.codes.data() + panel * packed.groups() * packed.group_bytes());
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t g = 0; g < packed.groups(); ++g) {
          const auto from = static_cast<std::size_t>((row + r) * weight.groups() + g / shares);
          const auto at = static_cast<std::size_t>((panel * packed.groups() + g) * kPanelRows + r);
          std::memcpy(packed.scales.data() + at * scale_bytes,
                      weight.scales.data() + from * scale_bytes, scale_bytes);
          packed.zeros[at] = weight.zeros[from];
        }
      }
    }
  });
  return packed;
}

std::optional<PackedWeight> arrange(const GroupAffineWeight& weight, std::int64_t group_size) {
  if (group_size == 0) group_size = weight.group_size;
  CHECK(weight.group_size % group_size == 0);
  const auto bits = layout_bits(weight.bits, group_size);
  if (!bits || weight.format != WeightFormat::integer) return std::nullopt;
  PackedWeight packed = empty_weight(weight.out, weight.in, group_size, *bits, weight.scale_type);
  const std::int64_t shares = weight.group_size / group_size;
  const std::int64_t inputs = chunk_inputs(*bits);
  const std::int64_t chunk_bytes = inputs * *bits * kPanelRows / 8;
  const std::size_t scale_bytes = size_bytes(weight.scale_type);
  std::fill(packed.codes.begin(), packed.codes.end(), std::uint8_t{0});
  parallel_for(packed.panels(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin * kPanelRows; row < std::min(end * kPanelRows, weight.out);
         ++row) {
      const std::int64_t panel = row / kPanelRows;
      const std::int64_t lane = row % kPanelRows;
      const std::uint8_t* codes = weight.codes.data() + row * weight.in;
      std::uint8_t* to = packed.codes.data() + panel * packed.groups() * packed.group_bytes();
      for (std::int64_t k = 0; k < weight.in; ++k) {
        put(to + k / inputs * chunk_bytes, *bits, lane, k % inputs, codes[k]);
      }
      for (std::int64_t g = 0; g < packed.groups(); ++g) {
        const auto from = static_cast<std::size_t>(row * weight.groups() + g / shares);
        const auto at = static_cast<std::size_t>((panel * packed.groups() + g) * kPanelRows + lane);
        store_scale(weight.scale_type, weight.scales[from],
                    packed.scales.data() + at * scale_bytes);
        packed.zeros[at] = weight.zeros[from];
      }
    }
  });
  return packed;
}

PackedWeight arrange(std::span<const std::byte> stored, std::int64_t out, std::int64_t in,
                     DType type) {
  CHECK(type == DType::bf16 || type == DType::f16);
  CHECK(std::ssize(stored) == out * in * 2);
  PackedWeight packed{.out = out,
                      .in = in,
                      .group_size = in,
                      .bits = 16,
                      .scale_type = type,
                      .codes = {},
                      .scales = {},
                      .zeros = {}};
  packed.codes.resize(static_cast<std::size_t>(packed.panels() * packed.group_bytes()));
  parallel_for(packed.panels(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      const std::int64_t row = panel * kPanelRows;
      arrange_halves(stored.data() + row * in * 2, in * 2, std::min(kPanelRows, out - row),
                     packed.codes.data() + panel * packed.group_bytes());
    }
  });
  return packed;
}

PackedWeight random_packed_weight(std::int64_t out, std::int64_t in, WeightScheme scheme,
                                  std::uint64_t seed) {
  const std::int64_t group_size = scheme.group_size > 0 ? scheme.group_size : in;
  const auto bits = layout_bits(scheme.bits, group_size);
  CHECK(bits && in % group_size == 0);
  PackedWeight packed = empty_weight(out, in, group_size, *bits, DType::f16);
  std::uint64_t state = seed;
  const auto next = [&] {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return state >> 33;
  };
  for (std::uint8_t& byte : packed.codes) byte = static_cast<std::uint8_t>(next());
  for (std::size_t at = 0; at < packed.zeros.size(); ++at) {
    packed.zeros[at] = static_cast<std::uint8_t>(next() % (1U << *bits));
    const float scale =
        0.02F / static_cast<float>(1 << *bits) * (1.0F + static_cast<float>(next() % 64) / 64.0F);
    store_scale(DType::f16, scale, packed.scales.data() + 2 * at);
  }
  return packed;
}

}  // namespace lowbit
