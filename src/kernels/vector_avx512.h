// Sixteen lanes in one AVX-512 register, for panel_kernels.h: in files compiled for AVX-512 with
// VNNI.
#pragma once

// Nothing without these instructions, so that the header compiles by itself.
#if defined(__AVX512VNNI__)

#include <immintrin.h>

#include <cstdint>

namespace lowbit {
namespace {

struct Avx512 {
  using Ints = __m512i;
  using Floats = __m512;

  static Ints load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, Ints x) { _mm512_storeu_si512(p, x); }
  static Ints splat(std::int32_t x) { return _mm512_set1_epi32(x); }
  static Ints shift_right(Ints x, int n) { return _mm512_srli_epi32(x, static_cast<unsigned>(n)); }
  static Ints shift_left(Ints x, int n) { return _mm512_slli_epi32(x, static_cast<unsigned>(n)); }
  static Ints both(Ints a, Ints b) { return _mm512_and_si512(a, b); }
  static Ints either(Ints a, Ints b) { return _mm512_or_si512(a, b); }
  static Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints subtract(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
  static Ints subtract_bytes(Ints a, Ints b) { return _mm512_sub_epi8(a, b); }
  static Ints multiply(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
  static constexpr std::int64_t kPrefetchBytes = 4096;
  static constexpr std::int64_t kBlockBytes = 1 << 20;
  static constexpr int kSums = 12;
  static constexpr int kTilePanels = 2;  // or a dot needs a load, of which two begin in a cycle
  template <int kBits>
  static constexpr std::int64_t kDots = 1 << 30;
  template <int kBits>
  static Ints dot(Ints sum, Ints codes, Ints x) {
    return _mm512_dpbusd_epi32(sum, codes, x);
  }
  // As instructions: GCC moves sums from register to register.
  template <int kBits>
  static void dot_word(Ints (&sums)[2], const Ints (&codes)[2], const std::int8_t* x) {
    Ints word;
    asm("vpbroadcastd %3, %2\n"
        "vpdpbusd %2, %4, %0\n"
        "vpdpbusd %2, %5, %1"
        : "+v"(sums[0]), "+v"(sums[1]), "=&v"(word)
        : "m"(*reinterpret_cast<const char(*)[4]>(x)), "v"(codes[0]), "v"(codes[1]));
  }
  template <int kBits>
  static void dot_word(Ints (&sums)[1], const Ints (&codes)[1], const std::int8_t* x) {
    asm("vpdpbusd %2%{1to16%}, %1, %0"
        : "+v"(sums[0])
        : "v"(codes[0]), "m"(*reinterpret_cast<const char(*)[4]>(x)));
  }
  template <int kBits>
  static Ints widen(Ints total, Ints sum) {
    return add(total, sum);
  }
  static Ints from_bytes(const std::uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }

  static Floats load_floats(const float* p) { return _mm512_loadu_ps(p); }
  static void store_floats(float* p, Floats x) { _mm512_storeu_ps(p, x); }
  static Floats splat_float(float x) { return _mm512_set1_ps(x); }
  static Floats to_float(Ints x) { return _mm512_cvtepi32_ps(x); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats from_f16(const std::uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Floats from_bf16(const std::uint8_t* p) {
    const Ints wide =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace
}  // namespace lowbit
#endif
