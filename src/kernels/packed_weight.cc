#include "kernels/packed_weight.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/half_float.h"
#include "base/threads.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr float kSmallestScale = 1e-5F;
constexpr float kLargestScale = 1e4F;
constexpr float kLargestZero = 1e4F;

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
  packed.scales.resize(groups * kPanelRows * size_bytes(scale_type));
  packed.zeros.resize(groups * kPanelRows);
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

struct GroupCodes {
  float scale = 0;
  std::int32_t sum = 0;     // of centered codes
  std::int32_t offset = 0;  // centered = stored + offset
};

constexpr std::int64_t kLanes = 16;

struct Extremes {
  float low, high;
  bool finite;
};

// Plain loops over sixteen lanes, which the compiler turns into vectors of any width; written in
// vectors of sixteen floats, it keeps them in memory where registers are narrower.
LOWBIT_CLONES
Extremes extremes(const float* x, std::int64_t size) {
  float lows[kLanes], highs[kLanes], nothing[kLanes];
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    lows[lane] = highs[lane] = x[0];
    nothing[lane] = 0.0F;  // NaN where a value is not finite
  }
  std::int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const float value = x[i + lane];
      lows[lane] = value < lows[lane] ? value : lows[lane];
      highs[lane] = value > highs[lane] ? value : highs[lane];
      nothing[lane] += value * 0.0F;
    }
  }
  for (; i < size; ++i) {
    lows[0] = x[i] < lows[0] ? x[i] : lows[0];
    highs[0] = x[i] > highs[0] ? x[i] : highs[0];
    nothing[0] += x[i] * 0.0F;
  }
  Extremes all{lows[0], highs[0], true};
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    all.low = lows[lane] < all.low ? lows[lane] : all.low;
    all.high = highs[lane] > all.high ? highs[lane] : all.high;
    all.finite = all.finite && nothing[lane] == 0.0F;
  }
  return all;
}

// Codes less `base`, and their sum. x / scale goes to the nearest integer, even on ties, by adding
// 1.5 * 2^23; beyond 2^22 the result is only near, and the clamp that follows makes both the same.
LOWBIT_CLONES
std::int32_t code_values(const float* x, std::int64_t size, float scale, float zero, float largest,
                         float base, std::int8_t* codes) {
  constexpr float kMagic = 12582912.0F;
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    float code = (x[i] / scale + kMagic) - kMagic + zero;
    code = code > 0.0F ? code : 0.0F;
    code = code < largest ? code : largest;
    const auto stored = static_cast<std::int32_t>(code - base);
    codes[i] = static_cast<std::int8_t>(stored);
    sum += stored;
  }
  return sum;
}

// One group, as format's quantize_activations does it.
GroupCodes code_group(const float* x, std::int64_t size, int bits, bool symmetric,
                      std::int8_t* codes) {
  const Extremes range = extremes(x, size);
  if (!range.finite) {
    std::fill_n(codes, size, std::int8_t{0});
    return {.scale = std::numeric_limits<float>::quiet_NaN()};
  }
  const auto largest = static_cast<float>((1 << bits) - 1);
  GroupCodes group;
  float zero = 0.0F;
  if (symmetric) {
    const float magnitude = std::max(std::abs(range.low), std::abs(range.high));
    group.scale = std::clamp(magnitude / (largest / 2.0F), kSmallestScale, kLargestScale);
    zero = static_cast<float>(1 << (bits - 1));
  } else {
    group.scale = std::clamp((range.high - range.low) / largest, kSmallestScale, kLargestScale);
    zero = std::nearbyint(std::clamp(-range.low / group.scale, -kLargestZero, kLargestZero));
  }
  // Centered codes lie in [-zero, largest - zero]; what does not fit a signed byte moves by an
  // offset.
  const bool fits = zero <= 128.0F && largest - zero <= 127.0F;
  group.offset = fits ? 0 : static_cast<std::int32_t>(128.0F - zero);
  const float base = fits ? zero : 128.0F;  // stored = code - base
  group.sum = code_values(x, size, group.scale, zero, largest, base, codes) +
              group.offset * static_cast<std::int32_t>(size);
  return group;
}

}  // namespace

std::optional<PackedWeight> arrange(const GroupAffineWeight& weight) {
  const auto bits = layout_bits(weight.bits, weight.group_size);
  if (!bits) return std::nullopt;
  PackedWeight packed =
      empty_weight(weight.out, weight.in, weight.group_size, *bits, weight.scale_type);
  const std::int64_t inputs = chunk_inputs(*bits);
  const std::int64_t chunk_bytes = inputs * *bits * kPanelRows / 8;
  const std::size_t scale_bytes = size_bytes(weight.scale_type);
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
        const auto from = static_cast<std::size_t>(row * packed.groups() + g);
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
      const std::int64_t rows = std::min(kPanelRows, out - panel * kPanelRows);
      const std::byte* from = stored.data() + panel * kPanelRows * in * 2;
      std::uint8_t* to = packed.codes.data() + panel * packed.group_bytes();
      for (std::int64_t k = 0; k < in; ++k, from += 2, to += 2 * kPanelRows) {
        for (std::int64_t row = 0; row < rows; ++row) {
          std::memcpy(to + 2 * row, from + row * in * 2, 2);
        }
      }
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

PackedActivations pack_activations(std::span<const float> x, std::int64_t in,
                                   std::int64_t group_size, const ActivationScheme& scheme) {
  CHECK(scheme.bits >= 2 && scheme.bits <= 8 && group_size > 0 && in % group_size == 0);
  const bool whole = scheme.per == ActivationGranularity::token;
  CHECK(whole || scheme.group_size == group_size);
  PackedActivations packed{.tokens = std::ssize(x) / in,
                           .in = in,
                           .group_size = group_size,
                           .codes = {},
                           .scales = {},
                           .sums = {},
                           .offsets = {}};
  const std::int64_t groups = packed.groups();
  const auto entries = static_cast<std::size_t>(packed.tokens * groups);
  packed.codes.resize(x.size());
  packed.scales.resize(entries);
  packed.sums.resize(entries);
  packed.offsets.resize(entries);
  const std::int64_t run = whole ? in : group_size;
  parallel_for(packed.tokens, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin * in; at < end * in; at += run) {
      const GroupCodes coded =
          code_group(x.data() + at, run, scheme.bits, scheme.symmetric, packed.codes.data() + at);
      for (std::int64_t g = at / group_size; g < (at + run) / group_size; ++g) {
        const auto entry = static_cast<std::size_t>(g);
        packed.scales[entry] = coded.scale;
        packed.offsets[entry] = coded.offset;
        const std::int8_t* codes = packed.codes.data() + g * group_size;
        packed.sums[entry] = whole ? std::accumulate(codes, codes + group_size, std::int32_t{0}) +
                                         coded.offset * static_cast<std::int32_t>(group_size)
                                   : coded.sum;
      }
    }
  });
  packed.any_offset = std::any_of(packed.offsets.begin(), packed.offsets.end(),
                                  [](std::int32_t offset) { return offset != 0; });
  return packed;
}

}  // namespace lowbit
