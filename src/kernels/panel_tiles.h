// Integer products of many tokens on matrix tiles, over a vector type V as in panel_kernels.h and a
// type T of eight tile registers, each up to 16 rows of 64 bytes:
//   configure(config)      the shapes of the registers; clears them
//   zero, load, store      of register k: load<k>(from, bytes from row to row)
//   dot_signed<c, a, b>    c[m][n] += sum over k of a[m][k] * b[k / 4][4 n + k % 4], signed bytes
//   dot_unsigned<c, a, b>  the same, the bytes of b unsigned
// Sixteen vectors of an unpacked panel are such a `b`: 64 inputs of 16 rows of the weight; 64 bytes
// of 16 tokens as they lie are an `a`. Two of each make a quad, so that every load serves twice.
//
// Up to 4 bits the zero point is taken off while a panel is unpacked: the dots need no correction
// by it. Everything that the tiles read lies in the order in which they read it: activations are
// copied into tiles, panels are unpacked a strip of four at a time. A block of tokens and a strip
// stay in the second cache. The first one holds the results of 64 tokens and a strip while they
// pass through all groups, and of both operands one group.
//
// Tiles work while vectors scale: the sums of a quad are added to the results between the dots of
// the next one.
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
  static constexpr std::int64_t kPassTokens = 64;     // whole quads
  static constexpr std::int64_t kBlockTokens = 256;   // whole passes
  static constexpr std::int64_t kBlockInputs = 4096;  // of whole groups, at least one
  static constexpr std::int64_t kStripPanels = 4;     // whole quads
  static constexpr std::int64_t kTokensADot = 4;      // scaled after it; a group of 128 has 8 dots

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
    std::int64_t step, steps;  // inputs of a dot, dots of a group
    std::int8_t*
        tiles;       // [tokens / 64, groups, 4 tiles, steps, 16 tokens, step], zeros for no token
    float* scales;   // of the tokens, [groups, kBlockTokens]
    float* offsets;  // the same, where activations have any
  };

  // Up to four panels, and a block's groups.
  struct Strip {
    std::int64_t panel, panels;
    std::uint8_t* codes;     // [groups, 4 panels, inputs / 4, 16 rows, 4 inputs]
    std::int32_t* row_sums;  // [groups, 4 panels, 16 rows], where activations have offsets
  };

  struct alignas(64) Sums {
    std::int32_t of[2 * kTileTokens][2][16];  // [token][panel]
  };
  struct alignas(64) Results {
    float of[kPassTokens][kStripPanels][16];
  };

  // Two tiles of tokens by two panels, of one group; the last one twice where there is no second.
  struct Quad {
    std::int64_t token, tokens;  // the first within the block; how many of 32 there are
    std::int64_t panel[2];       // within the strip
    std::int64_t group;          // within the block
  };

  template <int kBits>
  static void unpack(const PanelWeight& w, const PanelCodes& x, const Block& b,
                     const Strip& strip) {
    for (std::int64_t p = 0; p < strip.panels; ++p) {
      for (std::int64_t g = 0; g < b.groups; ++g) {
        const std::int64_t at = 16 * (g * kStripPanels + p);
        Parts::template unpack_group<kBits, kCentered<kBits>>(
            w, (strip.panel + p) * w.groups + b.group + g, strip.codes + at * w.group_size,
            x.any_offset ? strip.row_sums + at : nullptr);
      }
    }
  }

  static std::int8_t* tile_of(const Block& b, std::int64_t token, std::int64_t group) {
    constexpr std::int64_t kTiles = kPassTokens / kTileTokens;
    const std::int64_t tile =
        (token / kPassTokens * b.groups + group) * kTiles + token % kPassTokens / kTileTokens;
    return b.tiles + tile * b.steps * kTileTokens * b.step;
  }

  // Zeros from nowhere. A call of memcpy would take longer than 64 bytes do.
  static void copy_step(const std::int8_t* from, std::int64_t step, std::int8_t* to) {
    if (step == 64) return V::store(to, from != nullptr ? V::load(from) : V::splat(0));
    for (std::int64_t i = 0; i < step; ++i) to[i] = from != nullptr ? from[i] : std::int8_t{0};
  }

  static void copy_tiles(const PanelWeight& w, const PanelCodes& x, const Block& b) {
    const std::int64_t rows = (b.tokens + kTileTokens - 1) / kTileTokens * kTileTokens;
    for (std::int64_t t = 0; t < rows; ++t) {
      const std::int8_t* from = x.codes + (b.token + t) * w.in + b.group * w.group_size;
      for (std::int64_t g = 0; g < b.groups; ++g) {
        std::int8_t* to = tile_of(b, t, g) + t % kTileTokens * b.step;
        for (std::int64_t s = 0; s < b.steps; ++s, from += b.step, to += kTileTokens * b.step) {
          copy_step(t < b.tokens ? from : nullptr, b.step, to);
        }
      }
    }
    for (std::int64_t t = 0; t < b.tokens; ++t) {
      const float* from = x.scales + (b.token + t) * w.groups + b.group;
      for (std::int64_t g = 0; g < b.groups; ++g) b.scales[g * kBlockTokens + t] = from[g];
      if (!x.any_offset) continue;
      const std::int32_t* offset = x.offsets + (b.token + t) * w.groups + b.group;
      for (std::int64_t g = 0; g < b.groups; ++g) {
        b.offsets[g * kBlockTokens + t] = static_cast<float>(offset[g]);
      }
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

  // results += scale_w * scale_x * sum for the tokens of a quad, some at a time, each step rounded
  // as the reference product rounds it.
  template <int kBits, class Arithmetic, bool kOffsets>
  class Addition {
    using Term = typename Arithmetic::Term;

   public:
    Addition(const PanelWeight& w, const PanelCodes& x, const Block& b, const Strip& strip,
             const Quad& quad, const Sums& sums, Results& results)
        : sums_(sums.of[0][0]),
          results_(results.of[quad.token % kPassTokens][quad.panel[0]]),
          scales_(b.scales + quad.group * kBlockTokens + quad.token),
          offsets_(b.offsets + quad.group * kBlockTokens + quad.token),
          x_(x),
          at_((b.token + quad.token) * w.groups + b.group + quad.group),
          groups_(w.groups),
          tokens_(quad.tokens) {
      for (int p = 0; p < 2; ++p) {
        const std::int64_t at = (strip.panel + quad.panel[p]) * w.groups + b.group + quad.group;
        scale_[p] = Parts::scales(w, at);
        if constexpr (!kCentered<kBits>) {
          const I zero = V::from_bytes(w.zeros + at * 16);
          less_zero_[p] = Arithmetic::term(V::subtract(V::splat(0), zero));
        }
        if constexpr (kOffsets) {
          const std::int64_t row_sums = 16 * (quad.group * kStripPanels + quad.panel[p]);
          row_sums_[p] = Arithmetic::term(V::load(strip.row_sums + row_sums));
        }
      }
    }

    void add(std::int64_t tokens) {
      const std::int64_t end = least(next_ + tokens, tokens_);
      for (; next_ < end; ++next_) {
        const F token_scale = V::splat_float(scales_[next_]);
        const std::int32_t* sums = sums_ + next_ * 2 * 16;
        float* result = results_ + next_ * kStripPanels * 16;
        for (int p = 0; p < 2; ++p, sums += 16, result += 16) {
          Term sum = Arithmetic::term(V::load(sums));
          if constexpr (!kCentered<kBits>) {
            const Term of_token = Arithmetic::splat(x_.sums[at_ + next_ * groups_]);
            sum = Arithmetic::add_product(less_zero_[p], of_token, sum);
          }
          if constexpr (kOffsets) sum = Arithmetic::add_product(row_sums_[p], offset(), sum);
          const F both = V::multiply(scale_[p], token_scale);
          const F term = V::multiply(both, Arithmetic::rounded(sum));
          V::store_floats(result, V::add(V::load_floats(result), term));
        }
      }
    }

   private:
    Term offset() const {
      if constexpr (Arithmetic::kFloats) {
        return V::splat_float(offsets_[next_]);
      } else {
        return V::splat(x_.offsets[at_ + next_ * groups_]);
      }
    }

    const std::int32_t* sums_;
    float* results_;
    const float* scales_;
    const float* offsets_;
    const PanelCodes& x_;
    std::int64_t at_, groups_, tokens_, next_ = 0;
    F scale_[2];
    Term less_zero_[2], row_sums_[2];
  };

  // What will be read soon, on its way to the cache, four lines at a time.
  struct Ahead {
    const void* at;
    std::int64_t step;  // bytes

    void fetch() {
      const auto* const line = static_cast<const std::uint8_t*>(at);
      for (int i = 0; i < 4; ++i) V::prefetch(line + 64 * i);
      at = line + step;
    }
  };

  // The sums of a quad into registers 0 to 3. between() is called after each dot.
  template <int kBits, typename Between>
  static void multiply(const PanelWeight& w, const Block& b, const Strip& strip, const Quad& quad,
                       const Between& between) {
    const std::int8_t* const first = tile_of(b, quad.token, quad.group);
    const bool both = quad.tokens > kTileTokens;
    const std::int8_t* const second =
        both ? tile_of(b, quad.token + kTileTokens, quad.group) : first;
    const std::uint8_t* const codes = strip.codes + 16 * quad.group * kStripPanels * w.group_size;
    const std::uint8_t* const left = codes + 16 * quad.panel[0] * w.group_size;
    const std::uint8_t* const right = codes + 16 * quad.panel[1] * w.group_size;
    T::template zero<0>();
    T::template zero<1>();
    T::template zero<2>();
    T::template zero<3>();
    for (std::int64_t s = 0; s < b.steps; ++s) {
      T::template load<4>(first + s * kTileTokens * b.step, b.step);
      T::template load<6>(left + 16 * s * b.step, 64);
      dot<kBits, 0, 4, 6>();
      between();
      T::template load<7>(right + 16 * s * b.step, 64);
      dot<kBits, 1, 4, 7>();
      between();
      T::template load<5>(second + s * kTileTokens * b.step, b.step);
      dot<kBits, 2, 5, 6>();
      between();
      dot<kBits, 3, 5, 7>();
      between();
    }
  }

  static void store_sums(Sums& sums) {
    constexpr std::int64_t kRow = sizeof(sums.of[0]);
    T::template store<0>(sums.of[0][0], kRow);
    T::template store<1>(sums.of[0][1], kRow);
    T::template store<2>(sums.of[kTileTokens][0], kRow);
    T::template store<3>(sums.of[kTileTokens][1], kRow);
  }

  // All groups of a block for 64 tokens and a strip. Meanwhile the memory brings a panel of the
  // next strip, and the place of the results.
  template <int kBits, class Arithmetic, bool kOffsets>
  static void pass(const PanelWeight& w, const PanelCodes& x, const Block& b, const Strip& strip,
                   std::int64_t begin, Results& results, const float* y) {
    Sums sums;
    const std::int64_t end = least(begin + kPassTokens, b.tokens);
    const std::int64_t group_bytes = w.group_size * w.bits * 2;
    const std::int64_t next_panel = strip.panel + kStripPanels + begin / kPassTokens;
    Ahead weights{w.codes + (next_panel * w.groups + b.group) * group_bytes, 256};
    Ahead to{y + (b.token + begin) * w.out + 16 * strip.panel, w.out * 4};
    const auto adding = [&](const Quad& quad) {
      return Addition<kBits, Arithmetic, kOffsets>(w, x, b, strip, quad, sums, results);
    };
    Quad last{};  // of no tokens: nothing to add
    for (std::int64_t g = 0; g < b.groups; ++g) {
      for (std::int64_t i = g * kPassTokens / b.groups; i < (g + 1) * kPassTokens / b.groups; ++i) {
        to.fetch();
      }
      for (std::int64_t token = begin; token < end; token += 2 * kTileTokens) {
        for (std::int64_t panel = 0; panel < strip.panels; panel += 2) {
          const Quad quad{.token = token,
                          .tokens = least(2 * kTileTokens, end - token),
                          .panel = {panel, least(panel + 1, strip.panels - 1)},
                          .group = g};
          for (std::int64_t i = 0; i < group_bytes / 4; i += 256) weights.fetch();
          Addition<kBits, Arithmetic, kOffsets> addition = adding(last);
          multiply<kBits>(w, b, strip, quad, [&] { addition.add(kTokensADot); });
          addition.add(2 * kTileTokens);  // what is left
          store_sums(sums);
          last = quad;
        }
      }
    }
    adding(last).add(2 * kTileTokens);
  }

  // Results of the groups before the block come from y, and those after it go there.
  template <typename Move>
  static void for_results(const PanelWeight& w, const Block& b, const Strip& strip,
                          std::int64_t begin, float* y, const Move& move) {
    for (std::int64_t t = 0; t < least(kPassTokens, b.tokens - begin); ++t) {
      for (std::int64_t p = 0; p < strip.panels; ++p) {
        const std::int64_t row = 16 * (strip.panel + p);
        move(t, p, w.out - row, y + (b.token + begin + t) * w.out + row);
      }
    }
  }

  template <int kBits>
  static void panels(const PanelWeight& w, const PanelCodes& x, const Block& b, const Strip& strip,
                     float* y) {
    unpack<kBits>(w, x, b, strip);
    Results results;
    for (std::int64_t begin = 0; begin < b.tokens; begin += kPassTokens) {
      for_results(w, b, strip, begin, y,
                  [&](std::int64_t t, std::int64_t p, std::int64_t rows, const float* from) {
                    V::store_floats(results.of[t][p], b.group == 0 ? V::splat_float(0.0F)
                                                                   : Parts::load_rows(from, rows));
                  });
      Parts::by_arithmetic(Parts::fits_floats(w, x), [&]<class Arithmetic>() {
        if (x.any_offset) {
          pass<kBits, Arithmetic, true>(w, x, b, strip, begin, results, y);
        } else {
          pass<kBits, Arithmetic, false>(w, x, b, strip, begin, results, y);
        }
      });
      for_results(w, b, strip, begin, y,
                  [&](std::int64_t t, std::int64_t p, std::int64_t rows, float* to) {
                    Parts::store_rows(V::load_floats(results.of[t][p]), rows, to);
                  });
    }
  }

  // The parts of the scratch memory, in bytes; each a multiple of 64.
  static std::int64_t code_bytes(const PanelWeight& w) {
    return kStripPanels * 16 * groups_within(w, kBlockInputs) * w.group_size;
  }
  static std::int64_t row_sum_bytes(const PanelWeight& w) {
    return kStripPanels * 64 * groups_within(w, kBlockInputs);
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
    return code_bytes(w) + row_sum_bytes(w) + tile_bytes(w) + 2 * scale_bytes(w);
  }

  static void integer(const PanelWeight& w, const PanelCodes& x, std::int64_t begin,
                      std::int64_t end, std::uint8_t* scratch, float* y) {
    const std::int64_t step = step_inputs(w.group_size);
    const std::int64_t groups = groups_within(w, kBlockInputs);
    configure(step);
    std::uint8_t* const row_sums = scratch + code_bytes(w);
    std::uint8_t* const tiles = row_sums + row_sum_bytes(w);
    std::uint8_t* const scales = tiles + tile_bytes(w);
    for (std::int64_t token = 0; token < x.tokens; token += kBlockTokens) {
      for (std::int64_t group = 0; group < w.groups; group += groups) {
        const Block b{.token = token,
                      .tokens = least(kBlockTokens, x.tokens - token),
                      .group = group,
                      .groups = least(groups, w.groups - group),
                      .step = step,
                      .steps = w.group_size / step,
                      .tiles = reinterpret_cast<std::int8_t*>(tiles),
                      .scales = reinterpret_cast<float*>(scales),
                      .offsets = reinterpret_cast<float*>(scales + scale_bytes(w))};
        copy_tiles(w, x, b);
        for (std::int64_t panel = begin; panel < end; panel += kStripPanels) {
          const Strip strip{.panel = panel,
                            .panels = least(kStripPanels, end - panel),
                            .codes = scratch,
                            .row_sums = reinterpret_cast<std::int32_t*>(row_sums)};
          Parts::by_bits(w.bits, [&]<int kBits>() { panels<kBits>(w, x, b, strip, y); });
        }
      }
    }
    T::release();
  }
};

}  // namespace
}  // namespace lowbit
