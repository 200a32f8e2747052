// The loops behind packed_product.h over panels of a packed weight, written once over a vector type
// V of sixteen 32-bit lanes and compiled by one file for each instruction set, with that set's
// compiler options. For that reason nothing here comes from the standard library but integers: an
// inline function of a shared header, compiled with AVX-512, could be the copy that the linker
// keeps for everyone.
#pragma once

#include <cstdint>

namespace lowbit {

enum class ScaleKind { f16, bf16, f32 };  // of 16-bit weights: their own

struct PanelWeight {  // PackedWeight, packed_weight.h
  std::int64_t out, in, group_size, groups;
  int bits;
  ScaleKind scale_kind;
  const std::uint8_t* codes;
  const std::uint8_t* scales;
  const std::uint8_t* zeros;
};

struct PanelCodes {  // PackedActivations, packed_weight.h
  std::int64_t tokens;
  const std::int8_t* codes;
  const float* scales;
  const std::int32_t* sums;
  const std::int32_t* offsets;
  bool any_offset;
  int largest;  // no code is farther from zero
};

struct PanelFloats {
  std::int64_t tokens;
  const float* x;  // [tokens, in]
};

inline constexpr std::int64_t kDirectTokens = 4;  // up to here codes are decoded for each product

struct PanelKernels {
  // What `integer` needs of scratch memory.
  std::int64_t (*scratch_bytes)(const PanelWeight& w, std::int64_t tokens);
  // y for all tokens and the rows of panels [begin, end). `scratch` is aligned to 64.
  void (*integer)(const PanelWeight& w, const PanelCodes& x, std::int64_t begin, std::int64_t end,
                  std::uint8_t* scratch, float* y);
  // The same for weights of 16 bits and float activations.
  void (*halves)(const PanelWeight& w, const PanelFloats& x, std::int64_t begin, std::int64_t end,
                 float* y);
  // Weights of one panel and inputs [begin, end), whole chunks, as float: to[(i - begin) * stride +
  // row].
  void (*dequantize)(const PanelWeight& w, std::int64_t panel, std::int64_t begin, std::int64_t end,
                     std::int64_t stride, float* to);
};

PanelKernels panel_kernels_portable();
PanelKernels panel_kernels_avx2();
PanelKernels panel_kernels_avx512();
PanelKernels panel_kernels_amx();

namespace {

// V has lanes in Ints and Floats and, beside what its names say:
//   dot<bits>(sum, codes, x)   adds four products of an unsigned and a signed byte in each lane, in
//                              a form that holds kDots<bits> of them, whatever the bytes are
//   dot_word<bits>(sums, codes, p)  the same of each panel, with the four bytes at p in all lanes
//   widen<bits>(total, sum)    adds such a sum to integers
//   kPrefetchBytes             how far ahead codes of few tokens are fetched (docs/performance.md)
//   kBlockBytes                activations of that size stay in the second cache
//   kSums                      tokens whose sums, and what a dot needs besides, stay in registers
//   kTilePanels                panels that share a token's word then
//   multiply_add(a, b, c)      a * b + c, rounded once

template <int kBits>
struct Layout {
  static constexpr int kSteps = kBits == 8 ? 1 : kBits == 4 ? 2 : kBits == 2 ? 4 : 8;
  static constexpr int kChunkBytes = kBits == 3 ? 192 : 64;
  static constexpr int kChunkInputs = 4 * kSteps;
};

// What corrects a group's dots, in one of two arithmetics: integers, and floats, which take half
// the instructions and are as exact while nothing leaves 2^24.
template <class V>
struct InIntegers {
  static constexpr bool kFloats = false;
  using Term = typename V::Ints;
  static Term term(typename V::Ints x) { return x; }
  static Term splat(std::int32_t x) { return V::splat(x); }
  static Term add_product(Term a, Term b, Term sum) { return V::add(sum, V::multiply(a, b)); }
  static typename V::Floats rounded(Term x) { return V::to_float(x); }
};
template <class V>
struct InFloats {
  static constexpr bool kFloats = true;
  using Term = typename V::Floats;
  static Term term(typename V::Ints x) { return V::to_float(x); }
  static Term splat(std::int32_t x) { return V::to_float(V::splat(x)); }
  static Term add_product(Term a, Term b, Term sum) { return V::multiply_add(a, b, sum); }
  static typename V::Floats rounded(Term x) { return x; }
};

// What all loops over panels share.
template <class V>
struct PanelParts {
  using I = typename V::Ints;
  using F = typename V::Floats;

  // Whether InFloats is exact: dots, sums and their products with zero points are, and to these a
  // product with an offset is added with one rounding, that of the integer itself.
  static bool fits_floats(const PanelWeight& w, const PanelCodes& x) {
    return ((std::int64_t{1} << w.bits) - 1) * x.largest * w.group_size <= std::int64_t{1} << 24;
  }

  // run<arithmetic>()
  template <typename Run>
  static void by_arithmetic(bool floats, const Run& run) {
    if (floats) return run.template operator()<InFloats<V>>();
    run.template operator()<InIntegers<V>>();
  }

  // Four codes a lane, inputs 4 * step .. 4 * step + 3 of a chunk.
  template <int kBits>
  static I codes(const std::uint8_t* chunk, int step) {
    if constexpr (kBits == 8) {
      return V::load(chunk);
    } else if constexpr (kBits == 4) {
      return V::both(V::shift_right(V::load(chunk), 4 * step), V::splat(0x0F0F0F0F));
    } else if constexpr (kBits == 2) {
      return V::both(V::shift_right(V::load(chunk), 2 * step), V::splat(0x03030303));
    } else {
      const I low = V::both(V::shift_right(V::load(chunk + 64 * (step / 4)), 2 * (step % 4)),
                            V::splat(0x03030303));
      const I high = V::both(V::shift_right(V::load(chunk + 128), step), V::splat(0x01010101));
      return V::either(low, V::shift_left(high, 2));
    }
  }

  static F scales(const PanelWeight& w, std::int64_t at) {
    switch (w.scale_kind) {
      case ScaleKind::f16:
        return V::from_f16(w.scales + at * 32);
      case ScaleKind::bf16:
        return V::from_bf16(w.scales + at * 32);
      default:
        return V::load_floats(reinterpret_cast<const float*>(w.scales) + at * 16);
    }
  }

  static I four_codes(const std::int8_t* x) {
    std::int32_t word;
    __builtin_memcpy(&word, x, 4);
    return V::splat(word);
  }

  static void store_rows(F values, std::int64_t rows, float* y) {
    if (rows >= 16) return V::store_floats(y, values);
    float all[16];
    V::store_floats(all, values);
    for (std::int64_t r = 0; r < rows; ++r) y[r] = all[r];
  }

  static F load_rows(const float* y, std::int64_t rows) {
    if (rows >= 16) return V::load_floats(y);
    float all[16] = {};
    for (std::int64_t r = 0; r < rows; ++r) all[r] = y[r];
    return V::load_floats(all);
  }

  // result += scale_w * scale_x * sum, each step rounded as the reference product rounds it.
  static F add_scaled(F scale, float scale_x, F sum, F result) {
    return V::add(result, V::multiply(V::multiply(scale, V::splat_float(scale_x)), sum));
  }

  template <int kBits>
  static I add_row_sums(I sums, I code) {
    return V::template widen<kBits>(
        sums, V::template dot<kBits>(V::splat(0), code, V::splat(0x01010101)));
  }

  // Sums of codes as those of codes less their zero points.
  static I centered(const PanelWeight& w, I sums, I zero) {
    return V::subtract(sums, V::multiply(zero, V::splat(static_cast<std::int32_t>(w.group_size))));
  }

  // A group's codes a byte each, `kCenter`: less their zero points; and the centered sums of rows,
  // unless null. `at`: the group among all of all panels.
  template <int kBits, bool kCenter>
  static void unpack_group(const PanelWeight& w, std::int64_t at, std::uint8_t* to,
                           std::int32_t* row_sums) {
    using L = Layout<kBits>;
    const std::uint8_t* chunk = w.codes + at * (w.group_size * kBits * 2);
    const I zero = V::from_bytes(w.zeros + at * 16);
    [[maybe_unused]] const I zeros = V::multiply(zero, V::splat(0x01010101));
    I sums = V::splat(0);
    for (std::int64_t k = 0; k < w.group_size; k += L::kChunkInputs, chunk += L::kChunkBytes) {
      for (int step = 0; step < L::kSteps; ++step, to += 64) {
        const I code = codes<kBits>(chunk, step);
        if (row_sums != nullptr) sums = add_row_sums<kBits>(sums, code);
        if constexpr (kCenter) {
          V::store(to, V::subtract_bytes(code, zeros));
        } else {
          V::store(to, code);
        }
      }
    }
    if (row_sums != nullptr) V::store(row_sums, centered(w, sums, zero));
  }

  // run<bits>() for the layout's bits.
  template <typename Run>
  static void by_bits(int bits, const Run& run) {
    if (bits == 2) return run.template operator()<2>();
    if (bits == 3) return run.template operator()<3>();
    if (bits == 4) return run.template operator()<4>();
    run.template operator()<8>();
  }
};

template <class V>
class Panels : PanelParts<V> {
  using Parts = PanelParts<V>;
  using Parts::four_codes;
  using Parts::scales;
  using Parts::store_rows;
  using typename Parts::F;
  using typename Parts::I;

  template <int kBits>
  static I codes(const std::uint8_t* chunk, int step) {
    return Parts::template codes<kBits>(chunk, step);
  }

  // A group of a panel, as it corrects and scales the dots of all tokens.
  template <class Arithmetic>
  class Group {
   public:
    Group() = default;
    // `at`: the group among all of all panels. `row_sums` are centered.
    Group(const PanelWeight& w, std::int64_t at, I row_sums)
        : scale_(scales(w, at)),
          less_zero_(Arithmetic::term(V::subtract(V::splat(0), V::from_bytes(w.zeros + at * 16)))),
          row_sums_(Arithmetic::term(row_sums)) {}

    // add_scaled of dot - zero * sum + offset * row_sums. `at`: the token's group.
    F add(const PanelCodes& x, std::int64_t at, I dot, F result) const {
      auto sum =
          Arithmetic::add_product(less_zero_, Arithmetic::splat(x.sums[at]), Arithmetic::term(dot));
      if (x.any_offset) {
        sum = Arithmetic::add_product(row_sums_, Arithmetic::splat(x.offsets[at]), sum);
      }
      return Parts::add_scaled(scale_, x.scales[at], Arithmetic::rounded(sum), result);
    }

   private:
    F scale_;
    typename Arithmetic::Term less_zero_, row_sums_;
  };

  // Codes decoded for the product at once: few tokens. Two sums for each hide the latency of a dot,
  // where registers allow.
  template <int kBits, int kTokens>
  static void direct(const PanelWeight& w, const PanelCodes& x, std::int64_t token,
                     std::int64_t panel, float* y) {
    using L = Layout<kBits>;
    constexpr int kChains = L::kSteps > 1 && 2 * kTokens < V::kSums ? 2 : 1;
    constexpr std::int64_t kRun = V::template kDots<kBits> * kChains / L::kSteps * L::kChunkInputs;
    static_assert(kRun > 0);
    F result[kTokens];
    for (int t = 0; t < kTokens; ++t) result[t] = V::splat_float(0.0F);
    const std::uint8_t* chunk = w.codes + panel * w.groups * (w.group_size * kBits * 2);
    const std::int8_t* input = x.codes + token * w.in;
    for (std::int64_t g = 0; g < w.groups; ++g) {
      I dots[kTokens];
      for (int t = 0; t < kTokens; ++t) dots[t] = V::splat(0);
      I row_sums = V::splat(0);
      for (std::int64_t k = 0; k < w.group_size;) {
        const std::int64_t end = k + kRun < w.group_size ? k + kRun : w.group_size;
        I run[kTokens][kChains];
        for (int t = 0; t < kTokens; ++t) {
          for (int i = 0; i < kChains; ++i) run[t][i] = V::splat(0);
        }
        for (; k < end; k += L::kChunkInputs, chunk += L::kChunkBytes) {
          V::prefetch(chunk + V::kPrefetchBytes);
          for (int step = 0; step < L::kSteps; ++step, input += 4) {
            const I code = codes<kBits>(chunk, step);
            for (int t = 0; t < kTokens; ++t) {
              I& sum = run[t][step % kChains];
              sum = V::template dot<kBits>(sum, code, four_codes(input + t * w.in));
            }
            if (x.any_offset) row_sums = Parts::template add_row_sums<kBits>(row_sums, code);
          }
        }
        for (int t = 0; t < kTokens; ++t) {
          for (int i = 0; i < kChains; ++i) dots[t] = V::template widen<kBits>(dots[t], run[t][i]);
        }
      }
      const std::int64_t at = panel * w.groups + g;
      if (x.any_offset) {
        row_sums = Parts::centered(w, row_sums, V::from_bytes(w.zeros + at * 16));
      }
      const Group<InIntegers<V>> group(w, at, row_sums);
      for (int t = 0; t < kTokens; ++t) {
        result[t] = group.add(x, (token + t) * w.groups + g, dots[t], result[t]);
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      store_rows(result[t], w.out - panel * 16, y + (token + t) * w.out + panel * 16);
    }
  }

  struct Unpacked {
    std::uint8_t* codes;     // [kTilePanels, in / 4, 16 rows, 4]
    std::int32_t* row_sums;  // [kTilePanels, groups, 16 rows], where activations have offsets
  };

  template <int kBits>
  static void unpack(const PanelWeight& w, const PanelCodes& x, std::int64_t panel,
                     std::int64_t panels, const Unpacked& to) {
    for (std::int64_t g = 0; g < panels * w.groups; ++g) {
      Parts::template unpack_group<kBits, false>(w, panel * w.groups + g,
                                                 to.codes + 16 * g * w.group_size,
                                                 x.any_offset ? to.row_sums + 16 * g : nullptr);
    }
  }

  // Codes decoded before, a byte each: many tokens, kTokens of them by kPanels panels in registers.
  template <int kBits, int kTokens, int kPanels, class Arithmetic>
  static void tile(const PanelWeight& w, const PanelCodes& x, const Unpacked& unpacked,
                   std::int64_t token, std::int64_t panel, float* y) {
    const std::uint8_t* weights = unpacked.codes;
    const std::int64_t run_inputs = V::template kDots<kBits> * (128 / x.largest) * 4;
    F result[kTokens][kPanels];
    for (auto& of_token : result) {
      for (F& of_panel : of_token) of_panel = V::splat_float(0.0F);
    }
    const std::int8_t* input = x.codes + token * w.in;
    for (std::int64_t g = 0; g < w.groups; ++g) {
      I dots[kTokens][kPanels];
      for (auto& of_token : dots) {
        for (I& of_panel : of_token) of_panel = V::splat(0);
      }
      for (std::int64_t k = 0; k < w.group_size;) {
        const std::int64_t end = k + run_inputs < w.group_size ? k + run_inputs : w.group_size;
        I run[kTokens][kPanels];
        for (auto& of_token : run) {
          for (I& of_panel : of_token) of_panel = V::splat(0);
        }
        for (; k < end; k += 4, weights += 64, input += 4) {
          I code[kPanels];
          for (int p = 0; p < kPanels; ++p) code[p] = V::load(weights + p * 16 * w.in);
          for (int t = 0; t < kTokens; ++t) {
            V::template dot_word<kBits>(run[t], code, input + t * w.in);
          }
        }
        for (int t = 0; t < kTokens; ++t) {
          for (int p = 0; p < kPanels; ++p) {
            dots[t][p] = V::template widen<kBits>(dots[t][p], run[t][p]);
          }
        }
      }
      Group<Arithmetic> group[kPanels];
      for (int p = 0; p < kPanels; ++p) {
        const std::int64_t at = p * w.groups + g;
        const I row_sums = x.any_offset ? V::load(unpacked.row_sums + 16 * at) : V::splat(0);
        group[p] = {w, panel * w.groups + at, row_sums};
      }
      for (int t = 0; t < kTokens; ++t) {
        for (int p = 0; p < kPanels; ++p) {
          result[t][p] = group[p].add(x, (token + t) * w.groups + g, dots[t][p], result[t][p]);
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) {
        const std::int64_t row = (panel + p) * 16;
        store_rows(result[t][p], w.out - row, y + (token + t) * w.out + row);
      }
    }
  }

  template <int kBits, int kPanels>
  static void tokens_of(const PanelWeight& w, const PanelCodes& x, const Unpacked& unpacked,
                        std::int64_t first, std::int64_t last, std::int64_t panel, float* y) {
    Parts::by_arithmetic(Parts::fits_floats(w, x), [&]<class Arithmetic>() {
      std::int64_t token = first;
      for (; token + V::kSums <= last; token += V::kSums) {
        tile<kBits, V::kSums, kPanels, Arithmetic>(w, x, unpacked, token, panel, y);
      }
      for (; token + 3 <= last; token += 3) {
        tile<kBits, 3, kPanels, Arithmetic>(w, x, unpacked, token, panel, y);
      }
      for (; token < last; ++token) {
        tile<kBits, 1, kPanels, Arithmetic>(w, x, unpacked, token, panel, y);
      }
    });
  }

  template <int kBits>
  static void direct_panels(const PanelWeight& w, const PanelCodes& x, std::int64_t begin,
                            std::int64_t end, float* y) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      if (x.tokens == 4) direct<kBits, 4>(w, x, 0, panel, y);
      if (x.tokens == 3) direct<kBits, 3>(w, x, 0, panel, y);
      if (x.tokens == 2) direct<kBits, 2>(w, x, 0, panel, y);
      if (x.tokens == 1) direct<kBits, 1>(w, x, 0, panel, y);
    }
  }

  // Tokens of a block pass all panels before the next: they stay in the second cache, and unpacking
  // a panel again costs less than fetching them from the third.
  template <int kBits>
  static void integer_panels(const PanelWeight& w, const PanelCodes& x, std::int64_t begin,
                             std::int64_t end, std::uint8_t* scratch, float* y) {
    if (x.tokens <= kDirectTokens) return direct_panels<kBits>(w, x, begin, end, y);
    const Unpacked unpacked{
        .codes = scratch,
        .row_sums = reinterpret_cast<std::int32_t*>(scratch + V::kTilePanels * 16 * w.in)};
    const std::int64_t block = (V::kBlockBytes / w.in + V::kSums) / V::kSums * V::kSums;
    for (std::int64_t first = 0; first < x.tokens; first += block) {
      const std::int64_t last = first + block < x.tokens ? first + block : x.tokens;
      std::int64_t panel = begin;
      for (; panel + V::kTilePanels <= end; panel += V::kTilePanels) {
        unpack<kBits>(w, x, panel, V::kTilePanels, unpacked);
        tokens_of<kBits, V::kTilePanels>(w, x, unpacked, first, last, panel, y);
      }
      for (; panel < end; ++panel) {
        unpack<kBits>(w, x, panel, 1, unpacked);
        tokens_of<kBits, 1>(w, x, unpacked, first, last, panel, y);
      }
    }
  }

  static F byte_as_float(I codes, int byte) {
    return V::to_float(V::both(V::shift_right(codes, 8 * byte), V::splat(0xFF)));
  }

  template <ScaleKind kKind>
  static F half(const std::uint8_t* p) {
    return kKind == ScaleKind::f16 ? V::from_f16(p) : V::from_bf16(p);
  }

  // Weights of 16 bits, 32 bytes an input. Enough sums for the latency of additions.
  template <ScaleKind kKind, int kTokens>
  static void direct_halves(const PanelWeight& w, const PanelFloats& x, std::int64_t token,
                            std::int64_t panel, float* y) {
    constexpr int kSums = 4 / kTokens;
    F sums[kTokens][kSums];
    for (int t = 0; t < kTokens; ++t) {
      for (int i = 0; i < kSums; ++i) sums[t][i] = V::splat_float(0.0F);
    }
    const std::uint8_t* weights = w.codes + panel * w.in * 32;
    const float* input = x.x + token * w.in;
    const auto add_input = [&](int sum) {
      const F value = half<kKind>(weights);
      for (int t = 0; t < kTokens; ++t) {
        sums[t][sum] = V::multiply_add(value, V::splat_float(input[t * w.in]), sums[t][sum]);
      }
      weights += 32;
      ++input;
    };
    std::int64_t k = 0;
    for (; k + 4 <= w.in; k += 4) {
      V::prefetch(weights + 2048);
      V::prefetch(weights + 2112);
      for (int i = 0; i < 4; ++i) add_input(i % kSums);
    }
    for (; k < w.in; ++k) add_input(0);
    for (int t = 0; t < kTokens; ++t) {
      for (int i = 1; i < kSums; ++i) sums[t][0] = V::add(sums[t][0], sums[t][i]);
      store_rows(sums[t][0], w.out - panel * 16, y + (token + t) * w.out + panel * 16);
    }
  }

  template <ScaleKind kKind>
  static void half_panels(const PanelWeight& w, const PanelFloats& x, std::int64_t begin,
                          std::int64_t end, float* y) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      std::int64_t token = 0;
      for (; token + 4 <= x.tokens; token += 4) direct_halves<kKind, 4>(w, x, token, panel, y);
      for (; token + 2 <= x.tokens; token += 2) direct_halves<kKind, 2>(w, x, token, panel, y);
      for (; token < x.tokens; ++token) direct_halves<kKind, 1>(w, x, token, panel, y);
    }
  }

  template <ScaleKind kKind>
  static void widen_halves(const PanelWeight& w, std::int64_t panel, std::int64_t begin,
                           std::int64_t end, std::int64_t stride, float* to) {
    const std::uint8_t* weights = w.codes + panel * w.in * 32;
    for (std::int64_t k = begin; k < end; ++k, to += stride) {
      V::store_floats(to, half<kKind>(weights + k * 32));
    }
  }

  template <int kBits>
  static void dequantize(const PanelWeight& w, std::int64_t panel, std::int64_t begin,
                         std::int64_t end, std::int64_t stride, float* to) {
    using L = Layout<kBits>;
    for (std::int64_t k = begin; k < end;) {
      const std::int64_t group = k / w.group_size;
      const std::int64_t at = panel * w.groups + group;
      const F scale = scales(w, at);
      const F zero = V::to_float(V::from_bytes(w.zeros + at * 16));
      const std::uint8_t* chunk = w.codes + (panel * w.in + k) * (kBits * 2);
      const std::int64_t next = (group + 1) * w.group_size;
      for (; k < end && k < next; k += L::kChunkInputs, chunk += L::kChunkBytes) {
        for (int step = 0; step < L::kSteps; ++step) {
          const I code = codes<kBits>(chunk, step);
          for (int b = 0; b < 4; ++b, to += stride) {
            V::store_floats(to, V::multiply(V::subtract(byte_as_float(code, b), zero), scale));
          }
        }
      }
    }
  }

 public:
  static PanelKernels kernels() {
    PanelKernels all;
    all.scratch_bytes = [](const PanelWeight& w, std::int64_t tokens) {
      return tokens > kDirectTokens ? V::kTilePanels * (16 * w.in + 64 * w.groups) : 0;
    };
    all.integer = [](const PanelWeight& w, const PanelCodes& x, std::int64_t begin,
                     std::int64_t end, std::uint8_t* scratch, float* y) {
      Parts::by_bits(w.bits,
                     [&]<int kBits>() { integer_panels<kBits>(w, x, begin, end, scratch, y); });
    };
    all.halves = [](const PanelWeight& w, const PanelFloats& x, std::int64_t begin,
                    std::int64_t end, float* y) {
      w.scale_kind == ScaleKind::f16 ? half_panels<ScaleKind::f16>(w, x, begin, end, y)
                                     : half_panels<ScaleKind::bf16>(w, x, begin, end, y);
    };
    all.dequantize = [](const PanelWeight& w, std::int64_t panel, std::int64_t begin,
                        std::int64_t end, std::int64_t stride, float* to) {
      if (w.bits == 16) {
        return w.scale_kind == ScaleKind::f16
                   ? widen_halves<ScaleKind::f16>(w, panel, begin, end, stride, to)
                   : widen_halves<ScaleKind::bf16>(w, panel, begin, end, stride, to);
      }
      Parts::by_bits(w.bits,
                     [&]<int kBits>() { dequantize<kBits>(w, panel, begin, end, stride, to); });
    };
    return all;
  }
};

}  // namespace
}  // namespace lowbit
