// Activations to the codes of format's quantize_activations, as the product kernels take them.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/packed_weight.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr float kSmallestScale = 1e-5F;
constexpr float kLargestScale = 1e4F;
constexpr float kLargestZero = 1e4F;

struct GroupCodes {
  float scale = 0;
  std::int32_t sum = 0;     // of centered codes
  std::int32_t offset = 0;  // centered = stored + offset
  int largest = 0;          // no stored code is farther from zero
};

struct Extremes {
  float low, high;
  bool finite;
};

// Eight lanes: wider vectors are kept in memory where registers are narrower.
struct LaneExtremes {
  Floats8 low, high;
  Floats8 nothing;  // NaN where a value is not finite

  LOWBIT_INLINE void take(Floats8 value) {
    low = min_of(value, low);
    high = max_of(value, high);
    nothing += value * 0.0F;
  }
};

LOWBIT_CLONES
Extremes extremes(const float* x, std::int64_t size) {
  constexpr std::int64_t kLanes = 8;
  const Floats8 first = Floats8{} + x[0];
  LaneExtremes even{first, first, {}}, odd = even;  // one would wait for itself
  Floats8 value = first;
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= size; i += 2 * kLanes) {
    std::memcpy(&value, x + i, sizeof(value));
    even.take(value);
    std::memcpy(&value, x + i + kLanes, sizeof(value));
    odd.take(value);
  }
  for (; i < size; ++i) even.take(Floats8{} + x[i]);
  even.take(odd.low);
  even.take(odd.high);
  even.nothing += odd.nothing;
  Extremes all{even.low[0], even.high[0], even.nothing[0] == 0.0F};
  for (int lane = 1; lane < kLanes; ++lane) {
    all.low = even.low[lane] < all.low ? even.low[lane] : all.low;
    all.high = even.high[lane] > all.high ? even.high[lane] : all.high;
    all.finite = all.finite && even.nothing[lane] == 0.0F;
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
GroupCodes code_group(const float* x, std::int64_t size, const ActivationScheme& scheme,
                      std::int8_t* codes) {
  const Extremes range = extremes(x, size);
  if (!range.finite) {
    std::fill_n(codes, size, std::int8_t{0});
    return {.scale = std::numeric_limits<float>::quiet_NaN()};
  }
  const auto largest = static_cast<float>((1 << scheme.bits) - 1);
  const auto clip = static_cast<float>(scheme.clip);
  GroupCodes group;
  auto zero = static_cast<float>(1 << (scheme.bits - 1));
  if (scheme.is_static()) {
    group.scale = scheme.scale;
  } else if (scheme.symmetric) {
    const float magnitude = std::max(std::abs(range.low), std::abs(range.high));
    group.scale = std::clamp(clip * magnitude / (largest / 2.0F), kSmallestScale, kLargestScale);
  } else {
    group.scale =
        std::clamp(clip * (range.high - range.low) / largest, kSmallestScale, kLargestScale);
    zero =
        std::nearbyint(std::clamp(-(clip * range.low) / group.scale, -kLargestZero, kLargestZero));
  }
  // Centered codes lie in [-zero, largest - zero]; what does not fit a signed byte moves by an
  // offset.
  const bool fits = zero <= 128.0F && largest - zero <= 127.0F;
  group.offset = fits ? 0 : static_cast<std::int32_t>(128.0F - zero);
  const float base = fits ? zero : 128.0F;  // stored = code - base
  group.largest = static_cast<int>(std::max(std::abs(base), std::abs(largest - base)));
  group.sum = code_values(x, size, group.scale, zero, largest, base, codes);
  return group;
}

constexpr std::int64_t kParts = 3;                                    // of a float
constexpr float kLargestSplit = 127.0F * (65536.0F + 256.0F + 1.0F);  // that they hold

// The largest magnitude, or NaN when one is not finite. In lanes, as a single maximum would wait
// for itself.
LOWBIT_INLINE float largest_magnitude(const float* x, std::int64_t size) {
  constexpr int kSums = 8;
  float largest[kSums] = {};
  float nothing[kSums] = {};
  const auto add = [&](int lane, float value) {
    const float magnitude = std::abs(value);
    largest[lane] = largest[lane] < magnitude ? magnitude : largest[lane];
    nothing[lane] += value * 0.0F;  // NaN when it is not finite
  };
  std::int64_t i = 0;
  for (; i + kSums <= size; i += kSums) {
    for (int lane = 0; lane < kSums; ++lane) add(lane, x[i + lane]);
  }
  for (; i < size; ++i) add(0, x[i]);
  float all = 0.0F;
  for (int lane = 0; lane < kSums; ++lane) {
    all = std::max(all, largest[lane]);
    if (nothing[lane] != 0.0F) return std::numeric_limits<float>::quiet_NaN();
  }
  return all;
}

// One group into the parts codes[part * stride + i]; returns the scale of the first.
LOWBIT_CLONES
float split_group(const float* x, std::int64_t size, std::int64_t stride, std::int8_t* codes,
                  std::int32_t* sums) {
  const float largest = largest_magnitude(x, size);
  if (std::isnan(largest)) {
    for (std::int64_t part = 0; part < kParts; ++part) std::fill_n(codes + part * stride, size, 0);
    return largest;
  }
  constexpr float kSmallest =
      0x1p-100F;  // keeps the quotient finite; what it loses is below any sum
  const float scale = std::max(largest, kSmallest) / kLargestSplit;
  const float steps = kLargestSplit / std::max(largest, kSmallest);
  std::int32_t low_sum = 0, middle_sum = 0, high_sum = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    const float value = std::clamp(x[i] * steps, -kLargestSplit, kLargestSplit);
    const auto whole = static_cast<std::int32_t>(value + (value < 0.0F ? -0.5F : 0.5F));
    const auto low = static_cast<std::int8_t>(whole);
    const std::int32_t rest = (whole - low) >> 8;
    const auto middle = static_cast<std::int8_t>(rest);
    const auto high = static_cast<std::int8_t>((rest - middle) >> 8);
    codes[i] = low;
    codes[stride + i] = middle;
    codes[2 * stride + i] = high;
    low_sum += low;
    middle_sum += middle;
    high_sum += high;
  }
  sums[0] = low_sum;
  sums[1] = middle_sum;
  sums[2] = high_sum;
  return scale;
}

}  // namespace

PackedActivations split_activations(std::span<const float> x, std::int64_t in,
                                    std::int64_t group_size) {
  CHECK(group_size > 0 && in % group_size == 0 && std::ssize(x) % in == 0);
  const std::int64_t tokens = std::ssize(x) / in;
  const std::int64_t groups = in / group_size;
  const auto entries = static_cast<std::size_t>(kParts * tokens * groups);
  PackedActivations split{.tokens = kParts * tokens,
                          .in = in,
                          .group_size = group_size,
                          .codes = AlignedVector<std::int8_t>(kParts * x.size()),
                          .scales = AlignedVector<float>(entries),
                          .sums = AlignedVector<std::int32_t>(entries),
                          .offsets = AlignedVector<std::int32_t>(entries, 0)};
  for (std::int64_t at = 0; at < tokens * groups; ++at) {
    const std::int64_t token = at / groups;
    const std::int64_t group = at % groups;
    std::int32_t sums[kParts] = {};
    float scale = split_group(x.data() + at * group_size, group_size, in,
                              split.codes.data() + kParts * token * in + group * group_size, sums);
    for (std::int64_t part = 0; part < kParts; ++part, scale *= 256.0F) {
      const auto entry = static_cast<std::size_t>((kParts * token + part) * groups + group);
      split.scales[entry] = scale;
      split.sums[entry] = sums[part];
    }
  }
  return split;
}

PackedActivations pack_activations(std::span<const float> x, std::int64_t in,
                                   std::int64_t group_size, const ActivationScheme& scheme) {
  CHECK(scheme.bits >= 2 && scheme.bits <= 8 && is_clip(scheme.clip));
  CHECK(group_size > 0 && in % group_size == 0);
  CHECK(!scheme.is_static() || scheme.scale > 0.0F);
  const bool whole = scheme.whole_token();
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
  std::atomic<int> highest = 0;
  parallel_for(packed.tokens, 8, [&](std::int64_t begin, std::int64_t end) {
    int largest = 0;
    for (std::int64_t at = begin * in; at < end * in; at += run) {
      const GroupCodes coded = code_group(x.data() + at, run, scheme, packed.codes.data() + at);
      largest = std::max(largest, coded.largest);
      for (std::int64_t g = at / group_size; g < (at + run) / group_size; ++g) {
        const auto entry = static_cast<std::size_t>(g);
        packed.scales[entry] = coded.scale;
        packed.offsets[entry] = coded.offset;
        const std::int8_t* codes = packed.codes.data() + g * group_size;
        packed.sums[entry] =
            whole ? std::accumulate(codes, codes + group_size, std::int32_t{0}) : coded.sum;
      }
    }
    int seen = highest;
    while (seen < largest && !highest.compare_exchange_weak(seen, largest)) {
    }
  });
  packed.any_offset = std::any_of(packed.offsets.begin(), packed.offsets.end(),
                                  [](std::int32_t offset) { return offset != 0; });
  packed.largest = std::max(1, highest.load());
  return packed;
}

}  // namespace lowbit
