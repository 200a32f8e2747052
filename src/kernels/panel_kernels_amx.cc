// Tiles of AMX for many tokens, AVX-512 for few: decoding a weight for a tile costs more than the
// tile saves there.
#include "kernels/panel_kernels.h"

// GCC's and clang 14's name.
#if (defined(__AMX_INT8__) || defined(__AMXINT8__)) && defined(__AVX512VNNI__)
#include "kernels/panel_tiles.h"
#include "kernels/vector_avx512.h"

namespace lowbit {
namespace {

// Instructions rather than the compilers' intrinsics: those of GCC do not say that a load reads
// memory, nor that a configuration has 64 bytes, so that stores before them may be dropped.
struct AmxTiles {
  static void configure(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config)); }
  static void release() { asm volatile("tilerelease"); }

  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* to, std::int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTo, int kA, int kB>
  static void dot_signed() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kTo), "i"(kA), "i"(kB));
  }
  template <int kTo, int kA, int kB>
  static void dot_unsigned() {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kTo), "i"(kA), "i"(kB));
  }
};

using Tiles = TilePanels<Avx512, AmxTiles>;

}  // namespace

PanelKernels panel_kernels_amx() {
  PanelKernels all = panel_kernels_avx512();
  all.scratch_bytes = [](const PanelWeight& w, std::int64_t tokens) {
    return tokens > kDirectTokens ? Tiles::scratch_bytes(w) : 0;
  };
  all.integer = [](const PanelWeight& w, const PanelCodes& x, std::int64_t begin, std::int64_t end,
                   std::uint8_t* scratch, float* y) {
    if (x.tokens > kDirectTokens) return Tiles::integer(w, x, begin, end, scratch, y);
    panel_kernels_avx512().integer(w, x, begin, end, scratch, y);
  };
  return all;
}

}  // namespace lowbit
#else
namespace lowbit {
PanelKernels panel_kernels_amx() { return panel_kernels_portable(); }  // never chosen: isa.h
}  // namespace lowbit
#endif
