// Activations to codes, and the product on codes: what every kernel must reproduce.
//
// The product walks segments of the input in which neither the weight's nor the activation's scale
// changes. Within a segment it sums code products exactly, in integers:
//   |code_w - zero_w| <= 255 and |code_x - zero_x| <= 10000 + 255, so one product is at most
//   2,615,025 and 512 of them (kExactRun) stay below 2^31; longer segments add such runs in int64.
// The sum becomes a float (nearest even) and is multiplied by scale_w * scale_x (one rounded float
// product); segments are added in order, in float. No step depends on the cut into threads or
// tiles.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/threads.h"
#include "format/group_affine.h"

namespace lowbit {
namespace {

constexpr float kSmallestScale = 1e-5F;
constexpr float kLargestScale = 1e4F;
constexpr float kLargestZero = 1e4F;

constexpr std::int64_t kExactRun = 512;  // products that an int32 holds for certain
constexpr std::int64_t kTileTokens = 2;  // a tile's sums stay in registers
constexpr std::int64_t kTileRows = 4;
constexpr std::int64_t kRowBlock = 32;    // weight rows decoded at once: they stay in the L2 cache
constexpr std::int64_t kTokenBlock = 16;  // tokens that pass over them together

struct Range {
  float low;
  float high;
  bool finite;
};

Range range_of(std::span<const float> x) {
  Range range{x[0], x[0], true};
  for (const float value : x) {
    range.finite = range.finite && std::isfinite(value);
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  }
  return range;
}

// One group; returns its scale. Values that are not finite make the scale NaN, so that they reach
// the result instead of vanishing in a clamp.
float quantize_group(std::span<const float> x, const ActivationScheme& scheme,
                     std::int16_t* centered) {
  const Range range = range_of(x);
  if (!range.finite) {
    std::fill_n(centered, x.size(), std::int16_t{0});
    return std::numeric_limits<float>::quiet_NaN();
  }
  const auto largest = static_cast<float>((1 << scheme.bits) - 1);
  const auto clip = static_cast<float>(scheme.clip);
  float scale = scheme.scale;
  auto zero = static_cast<float>(1 << (scheme.bits - 1));
  if (scheme.is_static()) {
    CHECK(scale > 0.0F);
  } else if (scheme.symmetric) {
    const float magnitude = std::max(std::abs(range.low), std::abs(range.high));
    scale = std::clamp(clip * magnitude / (largest / 2.0F), kSmallestScale, kLargestScale);
  } else {
    scale = std::clamp(clip * (range.high - range.low) / largest, kSmallestScale, kLargestScale);
    zero = std::nearbyint(std::clamp(-(clip * range.low) / scale, -kLargestZero, kLargestZero));
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float code = std::clamp(std::nearbyint(x[i] / scale) + zero, 0.0F, largest);
    centered[i] = static_cast<std::int16_t>(code - zero);
  }
  return scale;
}

// Sums of a tile over `count` <= kExactRun inputs. A plain loop over int16 that compilers turn into
// multiply-add-pairs instructions; the sums are separate variables because arrays hinder that.
using TileSums = std::int64_t[kTileTokens][kTileRows];

void add_run(const std::int16_t* x, std::int64_t x_stride, const std::int16_t* w,
             std::int64_t w_stride, std::int64_t count, TileSums& sums) {
  static_assert(kTileTokens == 2 && kTileRows == 4);
  const std::int16_t* const x0 = x;
  const std::int16_t* const x1 = x + x_stride;
  const std::int16_t* const w0 = w;
  const std::int16_t* const w1 = w + w_stride;
  const std::int16_t* const w2 = w + 2 * w_stride;
  const std::int16_t* const w3 = w + 3 * w_stride;
  std::int32_t s00 = 0, s01 = 0, s02 = 0, s03 = 0;
  std::int32_t s10 = 0, s11 = 0, s12 = 0, s13 = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    s00 += x0[i] * w0[i];
    s01 += x0[i] * w1[i];
    s02 += x0[i] * w2[i];
    s03 += x0[i] * w3[i];
    s10 += x1[i] * w0[i];
    s11 += x1[i] * w1[i];
    s12 += x1[i] * w2[i];
    s13 += x1[i] * w3[i];
  }
  sums[0][0] += s00;
  sums[0][1] += s01;
  sums[0][2] += s02;
  sums[0][3] += s03;
  sums[1][0] += s10;
  sums[1][1] += s11;
  sums[1][2] += s12;
  sums[1][3] += s13;
}

// The tail of a tile that is not full: the same sums one by one.
void add_run_single(const std::int16_t* x, const std::int16_t* w, std::int64_t count,
                    std::int64_t& sum) {
  std::int32_t run = 0;
  for (std::int64_t i = 0; i < count; ++i) run += x[i] * w[i];
  sum += run;
}

class Product {
 public:
  Product(const QuantizedActivations& x, const GroupAffineWeight& weight, std::span<float> y)
      : x_(x), weight_(weight), y_(y), segment_(std::gcd(x.group_size, weight.group_size)) {}

  void rows(std::int64_t begin, std::int64_t end) const {
    std::vector<std::int16_t> block(static_cast<std::size_t>(kRowBlock * weight_.in));
    for (std::int64_t row = begin; row < end; row += kRowBlock) {
      const std::int64_t row_end = std::min(row + kRowBlock, end);
      decode(row, row_end, block.data());
      for (std::int64_t token = 0; token < x_.tokens; token += kTokenBlock) {
        const std::int64_t token_end = std::min(token + kTokenBlock, x_.tokens);
        for (std::int64_t r = row; r < row_end; r += kTileRows) {
          for (std::int64_t t = token; t < token_end; t += kTileTokens) {
            tile({t, std::min(kTileTokens, token_end - t), r, std::min(kTileRows, row_end - r)},
                 block.data() + (r - row) * weight_.in);
          }
        }
      }
    }
  }

 private:
  struct Tile {
    std::int64_t token, tokens, row, rows;
  };

  void decode(std::int64_t begin, std::int64_t end, std::int16_t* centered) const {
    for (std::int64_t at = begin * weight_.groups(); at < end * weight_.groups(); ++at) {
      const int zero = weight_.zeros[static_cast<std::size_t>(at)];
      const std::uint8_t* codes = weight_.codes.data() + at * weight_.group_size;
      for (std::int64_t i = 0; i < weight_.group_size; ++i) {
        *centered++ = static_cast<std::int16_t>(codes[i] - zero);
      }
    }
  }

  void tile(const Tile& at, const std::int16_t* w) const {
    const std::int64_t in = weight_.in;
    const std::int64_t x_groups = in / x_.group_size;
    const std::int16_t* const x = x_.centered.data() + at.token * in;
    const bool full = at.tokens == kTileTokens && at.rows == kTileRows;
    float result[kTileTokens][kTileRows] = {};
    for (std::int64_t begin = 0; begin < in; begin += segment_) {
      TileSums sums = {};
      for (std::int64_t i = begin; i < begin + segment_; i += kExactRun) {
        const std::int64_t count = std::min(kExactRun, begin + segment_ - i);
        if (full) {
          add_run(x + i, in, w + i, in, count, sums);
          continue;
        }
        for (std::int64_t t = 0; t < at.tokens; ++t) {
          for (std::int64_t r = 0; r < at.rows; ++r) {
            add_run_single(x + t * in + i, w + r * in + i, count, sums[t][r]);
          }
        }
      }
      const float* x_scale = x_.scales.data() + at.token * x_groups + begin / x_.group_size;
      const float* w_scale =
          weight_.scales.data() + at.row * weight_.groups() + begin / weight_.group_size;
      for (std::int64_t t = 0; t < at.tokens; ++t) {
        for (std::int64_t r = 0; r < at.rows; ++r) {
          const float scale = w_scale[r * weight_.groups()] * x_scale[t * x_groups];
          result[t][r] += scale * static_cast<float>(sums[t][r]);
        }
      }
    }
    for (std::int64_t t = 0; t < at.tokens; ++t) {
      std::copy_n(result[t], at.rows, y_.data() + (at.token + t) * weight_.out + at.row);
    }
  }

  const QuantizedActivations& x_;
  const GroupAffineWeight& weight_;
  std::span<float> y_;
  std::int64_t segment_;
};

}  // namespace

QuantizedActivations quantize_activations(std::span<const float> x, std::int64_t in,
                                          const ActivationScheme& scheme) {
  CHECK(scheme.bits >= 2 && scheme.bits <= 8 && is_clip(scheme.clip));
  QuantizedActivations result;
  result.in = in;
  result.group_size = scheme.whole_token() ? in : scheme.group_size;
  CHECK(result.group_size > 0 && in % result.group_size == 0);
  result.tokens = std::ssize(x) / in;
  CHECK(result.tokens * in == std::ssize(x));
  const std::int64_t groups = in / result.group_size;
  result.centered.resize(x.size());
  result.scales.resize(static_cast<std::size_t>(result.tokens * groups));
  parallel_for(result.tokens, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin * groups; at < end * groups; ++at) {
      const auto first = static_cast<std::size_t>(at * result.group_size);
      result.scales[static_cast<std::size_t>(at)] =
          quantize_group(x.subspan(first, static_cast<std::size_t>(result.group_size)), scheme,
                         result.centered.data() + first);
    }
  });
  return result;
}

void reference_product(const QuantizedActivations& x, const GroupAffineWeight& weight,
                       std::span<float> y) {
  CHECK(x.in == weight.in && weight.format == WeightFormat::integer);
  CHECK(std::ssize(y) == x.tokens * weight.out);
  const Product product(x, weight, y);
  parallel_for(weight.out, kRowBlock,
               [&](std::int64_t begin, std::int64_t end) { product.rows(begin, end); });
}

}  // namespace lowbit
