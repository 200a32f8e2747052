// Integer products of many tokens on matrix tiles, over a vector type V as in panel_kernels.h and a
// type T of eight tile registers, each up to 16 rows of 64 bytes:
//   configure(config)      the shapes of the registers; clears them
//   zero, load, store      of register k: load<k>(from, bytes from row to row)
//   dot_signed<c, a, b>    c[m][n] += sum over k of a[m][k] * b[k / 4][4 n + k % 4], signed bytes
//   dot_unsigned<c, a, b>  the same, the bytes of b unsigned
// Sixteen vectors of an unpacked panel are such a `b`: 64 inputs of 16 rows of the weight; 64 bytes
// of 16 tokens as they lie are an `a`. Two of each make a block, so that every load serves twice.
//
// Up to 4 bits the zero point is taken off while a panel is unpacked: the dots need no correction
// by it. The strip that is unpacked at once stays in the second-level cache for all tokens, and the
// tokens of a block for all panels of the strip.
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

  static constexpr std::int64_t kBlockTokens = 32;
  static constexpr std::int64_t kStripInputs = 4096;  // of whole groups, at least one
  static constexpr std::int64_t kStripPanels = 8;

  template <int kBits>
  static constexpr bool kCentered = kBits <= 4;

  static std::int64_t strip_groups(const PanelWeight& w) {
    return w.group_size < kStripInputs ? kStripInputs / w.group_size : 1;
  }
  static std::int64_t strip_inputs(const PanelWeight& w) {
    const std::int64_t groups = strip_groups(w);
    return w.group_size * (groups < w.groups ? groups : w.groups);
  }
  static std::int64_t strip_panels(const PanelWeight& w) {
    return w.group_size <= kStripInputs ? kStripPanels : 2;
  }

  // Inputs of one dot: equal steps through a group, as a new configuration would lose the sums.
  static std::int64_t step_inputs(std::int64_t group_size) {
    std::int64_t inputs = group_size < 64 ? group_size : 64;
    while (group_size % inputs != 0 || inputs % 4 != 0) --inputs;
    return inputs;
  }

  struct Strip {
    std::int64_t panel, panels;
    std::int64_t group, groups;
    std::uint8_t* codes;     // [panels, inputs / 4, 16 rows, 4 inputs]
    std::int32_t* row_sums;  // [panels, groups, 16 rows], where activations have offsets
    std::int64_t inputs;
  };

  struct Block {
    std::int64_t token, tokens;  // 2 to kBlockTokens
    std::int64_t panels[2];      // of the strip; the same twice where only one is left
  };

  struct alignas(64) Sums {
    std::int32_t of[kBlockTokens][2][16];
  };
  struct alignas(64) Results {
    float of[kBlockTokens][2][16];
  };

  template <int kBits>
  static void unpack(const PanelWeight& w, const PanelCodes& x, const Strip& strip) {
    for (std::int64_t p = 0; p < strip.panels; ++p) {
      for (std::int64_t g = 0; g < strip.groups; ++g) {
        Parts::template unpack_group<kBits, kCentered<kBits>>(
            w, (strip.panel + p) * w.groups + strip.group + g,
            strip.codes + 16 * (p * strip.inputs + g * w.group_size),
            x.any_offset ? strip.row_sums + 16 * (p * strip.groups + g) : nullptr);
      }
    }
  }

  // Registers: 0 to 3 sums of (tokens, panel), 4 and 5 tokens, 6 and 7 panels.
  static std::int64_t first_tokens(const Block& b) { return (b.tokens + 1) / 2; }

  static void configure(const Block& b, std::int64_t inputs) {
    TileConfig config;
    const auto shape = [&](int tile, std::int64_t rows, std::int64_t row_bytes) {
      config.rows[tile] = static_cast<std::uint8_t>(rows);
      config.row_bytes[tile] = static_cast<std::uint16_t>(row_bytes);
    };
    const std::int64_t first = first_tokens(b);
    const std::int64_t second = b.tokens - first;
    shape(0, first, 64);
    shape(1, first, 64);
    shape(2, second, 64);
    shape(3, second, 64);
    shape(4, first, inputs);
    shape(5, second, inputs);
    shape(6, inputs / 4, 64);
    shape(7, inputs / 4, 64);
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

  template <int kBits>
  static void multiply_group(const PanelWeight& w, const PanelCodes& x, const Strip& strip,
                             const Block& b, std::int64_t g, std::int64_t inputs) {
    const std::int8_t* first = x.codes + b.token * w.in + (strip.group + g) * w.group_size;
    const std::int8_t* second = first + first_tokens(b) * w.in;
    const std::uint8_t* left = strip.codes + 16 * (b.panels[0] * strip.inputs + g * w.group_size);
    const std::uint8_t* right = strip.codes + 16 * (b.panels[1] * strip.inputs + g * w.group_size);
    T::template zero<0>();
    T::template zero<1>();
    T::template zero<2>();
    T::template zero<3>();
    for (std::int64_t k = 0; k < w.group_size; k += inputs) {
      T::template load<4>(first + k, w.in);
      T::template load<6>(left + 16 * k, 64);
      T::template load<7>(right + 16 * k, 64);
      T::template load<5>(second + k, w.in);
      dot<kBits, 0, 4, 6>();
      dot<kBits, 1, 4, 7>();
      dot<kBits, 2, 5, 6>();
      dot<kBits, 3, 5, 7>();
    }
  }

  static void store_sums(const Block& b, Sums& sums) {
    constexpr std::int64_t kTokenBytes = sizeof(sums.of[0]);
    const std::int64_t first = first_tokens(b);
    T::template store<0>(sums.of[0][0], kTokenBytes);
    T::template store<1>(sums.of[0][1], kTokenBytes);
    T::template store<2>(sums.of[first][0], kTokenBytes);
    T::template store<3>(sums.of[first][1], kTokenBytes);
  }

  template <int kBits>
  static void add_group(const PanelWeight& w, const PanelCodes& x, const Strip& strip,
                        const Block& b, std::int64_t g, const Sums& sums, Results& results) {
    for (int p = 0; p < 2; ++p) {
      const std::int64_t panel_at = (strip.panel + b.panels[p]) * w.groups + strip.group + g;
      const F scale = Parts::scales(w, panel_at);
      const I zero = V::from_bytes(w.zeros + panel_at * 16);
      const std::int32_t* row_sums = strip.row_sums + 16 * (b.panels[p] * strip.groups + g);
      for (std::int64_t t = 0; t < b.tokens; ++t) {
        const std::int64_t at = (b.token + t) * w.groups + strip.group + g;
        I sum = V::load(sums.of[t][p]);
        if constexpr (!kCentered<kBits>) {
          sum = V::subtract(sum, V::multiply(zero, V::splat(x.sums[at])));
        }
        if (x.any_offset) {
          sum = V::add(sum, V::multiply(V::load(row_sums), V::splat(x.offsets[at])));
        }
        float* const result = results.of[t][p];
        V::store_floats(result, Parts::add_scaled(x, at, scale, sum, V::load_floats(result)));
      }
    }
  }

  // Results of the groups before, and of these after, in y itself.
  template <typename Move>
  static void for_results(const PanelWeight& w, const Strip& strip, const Block& b, float* y,
                          const Move& move) {
    for (int p = 0; p < 2; ++p) {
      const std::int64_t row = 16 * (strip.panel + b.panels[p]);
      for (std::int64_t t = 0; t < b.tokens; ++t) {
        move(t, p, w.out - row, y + (b.token + t) * w.out + row);
      }
    }
  }

  template <int kBits>
  static void block(const PanelWeight& w, const PanelCodes& x, const Strip& strip, const Block& b,
                    std::int64_t inputs, float* y) {
    Sums sums;
    Results results;
    for_results(w, strip, b, y, [&](std::int64_t t, int p, std::int64_t rows, const float* from) {
      V::store_floats(results.of[t][p],
                      strip.group == 0 ? V::splat_float(0.0F) : Parts::load_rows(from, rows));
    });
    // A group's sums are scaled while the tiles work on the next: they are stored after that.
    for (std::int64_t g = 0; g < strip.groups; ++g) {
      multiply_group<kBits>(w, x, strip, b, g, inputs);
      if (g > 0) add_group<kBits>(w, x, strip, b, g - 1, sums, results);
      store_sums(b, sums);
    }
    add_group<kBits>(w, x, strip, b, strip.groups - 1, sums, results);
    for_results(w, strip, b, y, [&](std::int64_t t, int p, std::int64_t rows, float* to) {
      Parts::store_rows(V::load_floats(results.of[t][p]), rows, to);
    });
  }

  template <int kBits>
  static void all_tokens(const PanelWeight& w, const PanelCodes& x, const Strip& strip, float* y) {
    const std::int64_t inputs = step_inputs(w.group_size);
    // Nearly equal blocks: none is left with a single token, which would make an empty tile.
    const std::int64_t blocks = (x.tokens + kBlockTokens - 1) / kBlockTokens;
    std::int64_t token = 0;
    for (std::int64_t i = 1; i <= blocks; ++i) {
      Block b{.token = token, .tokens = x.tokens * i / blocks - token, .panels = {}};
      token += b.tokens;
      configure(b, inputs);
      for (std::int64_t p = 0; p < strip.panels; p += 2) {
        b.panels[0] = p;
        b.panels[1] = p + 1 < strip.panels ? p + 1 : p;
        block<kBits>(w, x, strip, b, inputs, y);
      }
    }
  }

 public:
  // As of PanelKernels, for more than kDirectTokens.
  static std::int64_t scratch_bytes(const PanelWeight& w) {
    return strip_panels(w) * (16 * strip_inputs(w) + 64 * strip_groups(w));
  }

  static void integer(const PanelWeight& w, const PanelCodes& x, std::int64_t begin,
                      std::int64_t end, std::uint8_t* scratch, float* y) {
    const std::int64_t panels = strip_panels(w);
    const std::int64_t groups = strip_groups(w);
    for (std::int64_t panel = begin; panel < end; panel += panels) {
      for (std::int64_t group = 0; group < w.groups; group += groups) {
        Strip strip{
            .panel = panel,
            .panels = end - panel < panels ? end - panel : panels,
            .group = group,
            .groups = w.groups - group < groups ? w.groups - group : groups,
            .codes = scratch,
            .row_sums = reinterpret_cast<std::int32_t*>(scratch + 16 * panels * strip_inputs(w)),
            .inputs = 0};
        strip.inputs = strip.groups * w.group_size;
        Parts::by_bits(w.bits, [&]<int kBits>() {
          unpack<kBits>(w, x, strip);
          all_tokens<kBits>(w, x, strip, y);
        });
      }
    }
    T::release();
  }
};

}  // namespace
}  // namespace lowbit
