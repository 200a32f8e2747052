#include "kernels/panel_kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>

namespace lowbit {
namespace {

struct Avx2 {
  struct Ints {
    __m256i a, b;
  };
  struct Floats {
    __m256 a, b;
  };

  static Ints load(const void* p) {
    const auto* at = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
  }
  static void store(void* p, Ints x) {
    auto* at = static_cast<__m256i*>(p);
    _mm256_storeu_si256(at, x.a);
    _mm256_storeu_si256(at + 1, x.b);
  }
  static Ints splat(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static Ints shift_right(Ints x, int n) {
    return {_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
  }
  static Ints shift_left(Ints x, int n) {
    return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)};
  }
  static Ints both(Ints x, Ints y) {
    return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
  }
  static Ints either(Ints x, Ints y) {
    return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
  }
  static Ints add(Ints x, Ints y) {
    return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
  }
  static Ints subtract(Ints x, Ints y) {
    return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
  }
  static Ints multiply(Ints x, Ints y) {
    return {_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)};
  }

  static constexpr std::int64_t kPrefetchBytes = 2048;
  static constexpr std::int64_t kBlockBytes = 1 << 18;
  static constexpr int kSums = 6;
  static constexpr int kTilePanels = 1;
  // Products are added in pairs of 16 bits, with saturation. Codes of up to 4 bits leave room for
  // several pairs before they are widened; those of 8 bits go in two parts and are widened at once.
  template <int kBits>
  static constexpr std::int64_t kDots =
      kBits == 8 ? 1 << 30 : 32767 / (2 * ((1 << kBits) - 1) * 128);
  static_assert(kDots<2> == 42 && kDots<3> == 18 && kDots<4> == 8);

  static __m256i widened(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }
  template <int kBits>
  static __m256i dot(__m256i sum, __m256i codes, __m256i x) {
    if constexpr (kBits < 8) return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, x));
    const __m256i half = _mm256_and_si256(_mm256_srli_epi16(codes, 1), _mm256_set1_epi8(0x7F));
    const __m256i rest = _mm256_and_si256(codes, _mm256_set1_epi8(1));
    const __m256i halves = widened(_mm256_maddubs_epi16(half, x));
    const __m256i rests = widened(_mm256_maddubs_epi16(rest, x));
    return _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_slli_epi32(halves, 1), rests));
  }
  template <int kBits>
  static Ints dot(Ints sum, Ints codes, Ints x) {
    return {dot<kBits>(sum.a, codes.a, x.a), dot<kBits>(sum.b, codes.b, x.b)};
  }
  template <int kBits>
  static void dot_word(Ints (&sums)[1], const Ints (&all_codes)[1], const std::int8_t* x) {
    Ints& sum = sums[0];
    const Ints codes = all_codes[0];
    if constexpr (kBits < 8) {
      // As instructions: GCC loads all tokens first and has no registers left for the sums.
      __m256i word, pairs;
      asm("vpbroadcastd %4, %2\n"
          "vpmaddubsw %2, %5, %3\n"
          "vpmaddubsw %2, %6, %2\n"
          "vpaddw %3, %0, %0\n"
          "vpaddw %2, %1, %1"
          : "+x"(sum.a), "+x"(sum.b), "=&x"(word), "=&x"(pairs)
          : "m"(*reinterpret_cast<const char(*)[4]>(x)), "x"(codes.a), "x"(codes.b));
      return;
    }
    std::int32_t word;
    __builtin_memcpy(&word, x, 4);
    sum = dot<kBits>(sum, codes, splat(word));
  }
  template <int kBits>
  static Ints widen(Ints total, Ints sum) {
    return kBits == 8 ? add(total, sum) : add(total, {widened(sum.a), widened(sum.b)});
  }
  static Ints from_bytes(const std::uint8_t* p) {
    return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8)))};
  }

  static Floats load_floats(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store_floats(float* p, Floats x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
  }
  static Floats splat_float(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Floats to_float(Ints x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  static Floats add(Floats x, Floats y) {
    return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
  }
  static Floats subtract(Floats x, Floats y) {
    return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
  }
  static Floats multiply(Floats x, Floats y) {
    return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
  }
  static Floats multiply_add(Floats x, Floats y, Floats z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  static Floats from_f16(const std::uint8_t* p) {
    const auto* at = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at + 1))};
  }
  static __m256 widen_bf16(const __m128i* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
  }
  static Floats from_bf16(const std::uint8_t* p) {
    const auto* at = reinterpret_cast<const __m128i*>(p);
    return {widen_bf16(at), widen_bf16(at + 1)};
  }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace

PanelKernels panel_kernels_avx2() { return Panels<Avx2>::kernels(); }

}  // namespace lowbit
#else
namespace lowbit {
PanelKernels panel_kernels_avx2() { return panel_kernels_portable(); }  // never chosen: isa.h
}  // namespace lowbit
#endif
