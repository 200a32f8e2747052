// Sixteen floats at a time in the compiler's vector types: one source for AVX-512, AVX2 and SSE2.
//
// A function marked LOWBIT_CLONES is compiled once for each of these and chosen at load time;
// helpers it calls are LOWBIT_INLINE, so they are compiled with it. (The two macros are attributes
// that change with the sanitizers, which cannot run the loader's choice.)
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LOWBIT_TARGETS 1  // functions for one of these alone may be written beside others
#define LOWBIT_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LOWBIT_CLONES
#endif
#define LOWBIT_INLINE __attribute__((always_inline)) inline

namespace lowbit {

using Floats16 = float __attribute__((vector_size(64)));
using Floats8 = float __attribute__((vector_size(32)));
using Floats4 = float __attribute__((vector_size(16)));
using Ints16 = std::int32_t __attribute__((vector_size(64)));

LOWBIT_INLINE Floats16 splat16(float value) { return Floats16{} + value; }

template <typename V>
LOWBIT_INLINE V load(const float* from) {
  V values;
  std::memcpy(&values, from, sizeof(values));
  return values;
}
LOWBIT_INLINE Floats16 load16(const float* from) { return load<Floats16>(from); }

template <typename V>
LOWBIT_INLINE V load_partial(const float* from, std::int64_t count) {
  V values{};
  std::memcpy(&values, from, static_cast<std::size_t>(count) * sizeof(float));
  return values;
}

LOWBIT_INLINE Floats16 load16_partial(const float* from, std::int64_t count) {
  return load_partial<Floats16>(from, count);
}

template <typename V>
LOWBIT_INLINE void store(float* to, V values) {
  std::memcpy(to, &values, sizeof(values));
}
LOWBIT_INLINE void store16(float* to, Floats16 values) { store(to, values); }

// Of any of the compiler's float vectors: sixteen lanes where registers are that wide. Narrower
// registers want narrower vectors, as the compiler keeps others in memory.
template <typename V>
LOWBIT_INLINE V max_of(V a, V b) {
  return a > b ? a : b;
}
template <typename V>
LOWBIT_INLINE V min_of(V a, V b) {
  return a < b ? a : b;
}
LOWBIT_INLINE Floats16 max16(Floats16 a, Floats16 b) { return max_of(a, b); }
LOWBIT_INLINE Floats16 min16(Floats16 a, Floats16 b) { return min_of(a, b); }

template <typename V>
inline constexpr std::size_t kLanesOf = sizeof(V) / sizeof(float);

template <typename V>
LOWBIT_INLINE float reduce_max(V values) {
  float top = values[0];
  for (std::size_t lane = 1; lane < kLanesOf<V>; ++lane) {
    top = values[lane] > top ? values[lane] : top;
  }
  return top;
}

template <typename V>
LOWBIT_INLINE float reduce_sum(V values) {
  float sum = 0.0F;
  for (std::size_t lane = 0; lane < kLanesOf<V>; ++lane) sum += values[lane];
  return sum;
}

// Round half to even for |x| < 2^22: the addition of 1.5 * 2^23 does it in the default rounding
// mode.
template <typename V>
LOWBIT_INLINE V round_of(V x) {
  constexpr float kMagic = 12582912.0F;
  return (x + kMagic) - kMagic;
}
LOWBIT_INLINE Floats16 round16(Floats16 x) { return round_of(x); }

// exp for x <= 88; below -60 the result is 0 (to 1e-26): what is left out vanishes in any sum with
// a 1 in it, and subnormal numbers, a hundred times slower to multiply, never arise. 2^n * p(r),
// |r| <= ln2/2.
template <typename V>
LOWBIT_INLINE V exp_of(V x) {
  using Ints = decltype(x > V{});
  const Ints alive = x > -60.0F;
  x = max_of(x, V{} - 60.0F);
  const V n = round_of(x * 1.44269504F);
  const V r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  V p = r * 1.3981999507e-3F + 8.3334519073e-3F;  // the usual minimax for exp(r) - 1 - r, over r^2
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  const Ints bits = (__builtin_convertvector(n, Ints) + 127) << 23;
  V power;
  std::memcpy(&power, &bits, sizeof(power));
  const V value = p * power;
  return alive ? value : V{};
}
LOWBIT_INLINE Floats16 exp16(Floats16 x) { return exp_of(x); }

}  // namespace lowbit
