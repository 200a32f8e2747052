// Integer products of many tokens on matrix tiles, over a vector type V as in panel_kernels.h and a
// type T of eight tile registers, each up to 16 rows of 64 bytes:
//   configure(config)      the shapes of the registers; clears them
//   zero, load, store      of register k: load<k>(from, bytes from row to row)
//   dot_signed<c, a, b>    c[m][n] += sum over k of a[m][k] * b[k / 4][4 n + k % 4], signed bytes
//   dot_unsigned<c, a, b>  the same, the bytes of b unsigned
// Sixteen vectors of an unpacked panel are such a `b`: 64 inputs of 16 rows of the weight; 64 bytes
// of 16 tokens as they lie are an `a`. Two of each make a block, so that every load serves twice.
//
//
// Up to 4 bits the zero point is taken off while a panel is unpacked: the dots need no correction
// by it. Everything that the tiles read lies as they read it: activations are copied into tiles
// first, as rows a power of two apart would share few sets of the first cache and a page each. A
// block of tokens stays in the second cache for all panels, a strip of two unpacked panels in the
// first for all tokens of the block.
#pragma once

#include <cstdint>

#include "kernels/panel_kernels.h"

namespace lowbit {
namespace {

struct TileConfig {  // as the processor reads it
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

template <class V, class T>
class TilePanels : PanelParts<V> {
  using Parts = PanelParts<V>;
  using typename Parts::F;
  using typename Parts::I;

  static constexpr std::int64_t kTileTokens = 16;
  static constexpr std::int64_t kBlockTokens = 256;   // a multiple of two tiles
  static constexpr std::int64_t kBlockInputs = 4096;  // of whole groups, at least one
  static constexpr std::int64_t kStripInputs = 512;   // likewise
  static constexpr std::int64_t kStripPanels = 2;

  template <int kBits>
  static constexpr bool kCentered = kBits <= 4;

  static std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

  // Groups that together have at most so many inputs; at least one.
  static std::int64_t groups_within(const PanelWeight& w, std::int64_t inputs) {
    return w.group_size < inputs ? least(inputs / w.group_size, w.groups) : 1;
  }

  // Inputs of one dot: equal steps through a group, as a new configuration would lose the sums.
  static std::int64_t step_inputs(std::int64_t group_size) {
    std::int64_t inputs = group_size < 64 ? group_size : 64;
    while (group_size % inputs != 0 || inputs % 4 != 0) --inputs;
    return inputs;
  }

  // Tokens and groups that are worked on together.
  struct Block {
    std::int64_t token, tokens;
    std::int64_t group, groups;
    std::int64_t step;   // inputs of a dot
    std::int8_t* tiles;  // [tokens / 16, steps, 16 tokens, step], zeros for tokens that are none
    std::int64_t steps_a_group, steps;
    float* scales;  // of the tokens, [groups, kBlockTokens]
  };

  // Two panels, or the last one twice, and some of a block's groups.
  struct Strip {
    std::int64_t panel, panels;
    std::int64_t group, groups;  // counted within the block
    std::uint8_t* codes[2];      // [inputs / 4, 16 rows, 4 inputs]
    std::int32_t* row_sums[2];   // [groups, 16 rows], where activations have offsets
  };

  struct alignas(64) Sums {
    std::int32_t of[2][2][kTileTokens * 16];  // [tile of tokens][panel]
  };
  struct alignas(64) Results {
    float of[kBlockTokens][2][16];
  };

  template <int kBits>
  static void unpack(const PanelWeight& w, const PanelCodes& x, const Block& b,
                     const Strip& strip) {
    for (std::int64_t p = 0; p < strip.panels; ++p) {
      for (std::int64_t g = 0; g < strip.groups; ++g) {
        Parts::template unpack_group<kBits, kCentered<kBits>>(
            w, (strip.panel + p) * w.groups + b.group + strip.group + g,
            strip.codes[p] + 16 * g * w.group_size,
            x.any_offset ? strip.row_sums[p] + 16 * g : nullptr);
      }
    }
  }

  static void copy_tiles(const PanelWeight& w, const PanelCodes& x, const Block& b) {
    const std::int64_t rows = (b.tokens + kTileTokens - 1) / kTileTokens * kTileTokens;
    for (std::int64_t t = 0; t < rows; ++t) {
      const std::int8_t* from = x.codes + (b.token + t) * w.in + b.group * w.group_size;
      std::int8_t* to =
          b.tiles + (t / kTileTokens * b.steps * kTileTokens + t % kTileTokens) * b.step;
      for (std::int64_t s = 0; s < b.steps; ++s, from += b.step, to += kTileTokens * b.step) {
        if (t < b.tokens) {
          __builtin_memcpy(to, from, static_cast<std::size_t>(b.step));
        } else {
          __builtin_memset(to, 0, static_cast<std::size_t>(b.step));
        }
      }
    }
    for (std::int64_t t = 0; t < b.tokens; ++t) {
      const float* from = x.scales + (b.token + t) * w.groups + b.group;
      for (std::int64_t g = 0; g < b.groups; ++g) b.scales[g * kBlockTokens + t] = from[g];
    }
  }

  // Registers: 0 to 3 sums of (tokens, panel), 4 and 5 tokens, 6 and 7 panels.
  static void configure(std::int64_t step) {
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.rows[tile] = static_cast<std::uint8_t>(tile < 6 ? kTileTokens : step / 4);
      config.row_bytes[tile] = static_cast<std::uint16_t>(tile == 4 || tile == 5 ? step : 64);
    }
    T::configure(config);
  }

  template <int kBits, int kTo, int kTokens, int kPanel>
  static void dot() {
    if constexpr (kCentered<kBits>) {
      T::template dot_signed<kTo, kTokens, kPanel>();
    } else {
      T::template dot_unsigned<kTo, kTokens, kPanel>();
    }
  }

  // `tile`, and the one after it where there is one.
  template <int kBits>
  static void multiply_group(const PanelWeight& w, const Block& b, const Strip& strip,
                             std::int64_t tile, std::int64_t g) {
    const std::int64_t tile_bytes = kTileTokens * b.step;
    const std::int8_t* first =
        b.tiles + (tile * b.steps + (strip.group + g) * b.steps_a_group) * tile_bytes;
    const bool both = (tile + 1) * kTileTokens < b.tokens;
    const std::int8_t* second = both ? first + b.steps * tile_bytes : first;
    const std::uint8_t* left = strip.codes[0] + 16 * g * w.group_size;
    const std::uint8_t* right = strip.codes[1] + 16 * g * w.group_size;
    T::template zero<0>();
    T::template zero<1>();
    T::template zero<2>();
    T::template zero<3>();
    for (std::int64_t s = 0; s < b.steps_a_group; ++s) {
      T::template load<4>(first + s * tile_bytes, b.step);
      T::template load<6>(left + 16 * s * b.step, 64);
      T::template load<7>(right + 16 * s * b.step, 64);
      T::template load<5>(second + s * tile_bytes, b.step);
      dot<kBits, 0, 4, 6>();
      dot<kBits, 1, 4, 7>();
      dot<kBits, 2, 5, 6>();
      dot<kBits, 3, 5, 7>();
    }
  }

  static void store_sums(Sums& sums) {
    T::template store<0>(sums.of[0][0], 64);
    T::template store<1>(sums.of[0][1], 64);
    T::template store<2>(sums.of[1][0], 64);
    T::template store<3>(sums.of[1][1], 64);
  }

  // results += scale_w * scale_x * sum for two panels, each step rounded as the reference product
  // rounds it.
  template <int kBits, bool kOffsets>
  static void add_group(const PanelWeight& w, const PanelCodes& x, const Block& b,
                        const Strip& strip, std::int64_t tile, std::int64_t g, const Sums& sums,
                        Results& results) {
    const std::int64_t group = b.group + strip.group + g;
    const std::int64_t begin = tile * kTileTokens;
    const std::int64_t tokens = least(2 * kTileTokens, b.tokens - begin);
    const float* const scales = b.scales + (strip.group + g) * kBlockTokens + begin;
    F scale[2];
    I zero[2], row_sums[2];
    for (std::int64_t p = 0; p < 2; ++p) {
      const std::int64_t panel = strip.panel + (p < strip.panels ? p : 0);
      scale[p] = Parts::scales(w, panel * w.groups + group);
      if constexpr (!kCentered<kBits>) {
        zero[p] = V::from_bytes(w.zeros + (panel * w.groups + group) * 16);
      }
      if constexpr (kOffsets) row_sums[p] = V::load(strip.row_sums[p] + 16 * g);
    }
    for (std::int64_t t = 0; t < tokens; ++t) {
      const F token_scale = V::splat_float(scales[t]);
      const std::int64_t at = (b.token + begin + t) * w.groups + group;
      for (int p = 0; p < 2; ++p) {
        I sum = V::load(sums.of[t / kTileTokens][p] + t % kTileTokens * 16);
        if constexpr (!kCentered<kBits>) {
          sum = V::subtract(sum, V::multiply(zero[p], V::splat(x.sums[at])));
        }
        if constexpr (kOffsets) {
          sum = V::add(sum, V::multiply(row_sums[p], V::splat(x.offsets[at])));
        }
        float* const result = results.of[begin + t][p];
        const F both = V::multiply(scale[p], token_scale);
        const F term = V::multiply(both, V::to_float(sum));
        V::store_floats(result, V::add(V::load_floats(result), term));
      }
    }
  }

  template <int kBits, bool kOffsets>
  static void multiply(const PanelWeight& w, const PanelCodes& x, const Block& b,
                       const Strip& strip, Results& results) {
    Sums sums;
    for (std::int64_t tile = 0; tile * kTileTokens < b.tokens; tile += 2) {
      // A group's sums are scaled while the tiles work on the next: they are stored after that.
      for (std::int64_t g = 0; g < strip.groups; ++g) {
        multiply_group<kBits>(w, b, strip, tile, g);
        if (g > 0) add_group<kBits, kOffsets>(w, x, b, strip, tile, g - 1, sums, results);
        store_sums(sums);
      }
      add_group<kBits, kOffsets>(w, x, b, strip, tile, strip.groups - 1, sums, results);
    }
  }

  // Results of the groups before the block come from y, and those after it go there.
  template <typename Move>
  static void for_results(const PanelWeight& w, const Block& b, const Strip& strip, float* y,
                          const Move& move) {
    for (std::int64_t t = 0; t < b.tokens; ++t) {
      for (std::int64_t p = 0; p < strip.panels; ++p) {
        const std::int64_t row = 16 * (strip.panel + p);
        move(t, p, w.out - row, y + (b.token + t) * w.out + row);
      }
    }
  }

  template <int kBits>
  static void panels(const PanelWeight& w, const PanelCodes& x, const Block& b, Strip& strip,
                     float* y) {
    Results results;
    for_results(
        w, b, strip, y, [&](std::int64_t t, std::int64_t p, std::int64_t rows, const float* from) {
          V::store_floats(results.of[t][p],
                          b.group == 0 ? V::splat_float(0.0F) : Parts::load_rows(from, rows));
        });
    const std::int64_t groups = groups_within(w, kStripInputs);
    for (std::int64_t g = 0; g < b.groups; g += groups) {
      strip.group = g;
      strip.groups = least(groups, b.groups - g);
      unpack<kBits>(w, x, b, strip);
      if (x.any_offset) {
        multiply<kBits, true>(w, x, b, strip, results);
      } else {
        multiply<kBits, false>(w, x, b, strip, results);
      }
    }
    for_results(w, b, strip, y, [&](std::int64_t t, std::int64_t p, std::int64_t rows, float* to) {
      Parts::store_rows(V::load_floats(results.of[t][p]), rows, to);
    });
  }

  // The parts of the scratch memory, in bytes; each a multiple of 64.
  static std::int64_t strip_bytes(const PanelWeight& w) {
    return 16 * groups_within(w, kStripInputs) * w.group_size;
  }
  static std::int64_t row_sum_bytes(const PanelWeight& w) {
    return 64 * groups_within(w, kStripInputs);
  }
  static std::int64_t tile_bytes(const PanelWeight& w) {
    return kBlockTokens * groups_within(w, kBlockInputs) * w.group_size;
  }
  static std::int64_t scale_bytes(const PanelWeight& w) {
    return kBlockTokens * groups_within(w, kBlockInputs) * 4;
  }

 public:
  // As of PanelKernels, for more than kDirectTokens.
  static std::int64_t scratch_bytes(const PanelWeight& w) {
    return kStripPanels * (strip_bytes(w) + row_sum_bytes(w)) + tile_bytes(w) + scale_bytes(w);
  }

  static void integer(const PanelWeight& w, const PanelCodes& x, std::int64_t begin,
                      std::int64_t end, std::uint8_t* scratch, float* y) {
    const std::int64_t step = step_inputs(w.group_size);
    const std::int64_t groups = groups_within(w, kBlockInputs);
    configure(step);
    Strip strip{};
    for (int p = 0; p < kStripPanels; ++p) {
      strip.codes[p] = scratch + p * strip_bytes(w);
      strip.row_sums[p] = reinterpret_cast<std::int32_t*>(scratch + kStripPanels * strip_bytes(w) +
                                                          p * row_sum_bytes(w));
    }
    std::int8_t* const tiles = reinterpret_cast<std::int8_t*>(
        scratch + kStripPanels * (strip_bytes(w) + row_sum_bytes(w)));
    for (std::int64_t token = 0; token < x.tokens; token += kBlockTokens) {
      for (std::int64_t group = 0; group < w.groups; group += groups) {
        Block b{.token = token,
                .tokens = least(kBlockTokens, x.tokens - token),
                .group = group,
                .groups = least(groups, w.groups - group),
                .step = step,
                .tiles = tiles,
                .steps_a_group = w.group_size / step,
                .steps = 0,
                .scales = reinterpret_cast<float*>(tiles + tile_bytes(w))};
        b.steps = b.groups * b.steps_a_group;
        copy_tiles(w, x, b);
        for (std::int64_t panel = begin; panel < end; panel += kStripPanels) {
          strip.panel = panel;
          strip.panels = least(kStripPanels, end - panel);
          Strip pair = strip;
          if (pair.panels == 1) {
            pair.codes[1] = pair.codes[0];
            pair.row_sums[1] = pair.row_sums[0];
          }
          Parts::by_bits(w.bits, [&]<int kBits>() { panels<kBits>(w, x, b, pair, y); });
        }
      }
    }
    T::release();
  }
};

}  // namespace
}  // namespace lowbit
