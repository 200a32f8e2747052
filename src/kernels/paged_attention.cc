#include "kernels/paged_attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/panel_product.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kTileRows = 96;  // queries times heads; a multiple of panel_product's rows
constexpr float kMinusInfinity = -INFINITY;

// What one query row has seen so far.
struct RowState {
  float top = kMinusInfinity;  // largest score
  float sum = 0.0F;            // of exp(score - top)
};

// Scores of one row over a page become exp(score - top), those outside [low, high) 0. Returns the
// factor by which what was gathered before shrinks.
template <typename V>
LOWBIT_INLINE float soften(float* scores, std::int64_t low, std::int64_t high, RowState& state) {
  constexpr int kVectors = kPagePositions * sizeof(float) / sizeof(V);
  constexpr int kLanes = sizeof(V) / sizeof(float);
  std::fill(scores, scores + low, kMinusInfinity);
  std::fill(scores + high, scores + kPagePositions, kMinusInfinity);
  V row[kVectors];
  std::memcpy(row, scores, sizeof(row));
  V tops = row[0];
  for (int j = 1; j < kVectors; ++j) tops = max_of(tops, row[j]);
  float top = state.top;
  for (int lane = 0; lane < kLanes; ++lane) top = tops[lane] > top ? tops[lane] : top;
  V sums{};
  for (int j = 0; j < kVectors; ++j) {
    row[j] = exp_of(row[j] - top);
    sums += row[j];
  }
  std::memcpy(scores, row, sizeof(row));
  const float factor = state.top == top ? 1.0F : std::exp(state.top - top);
  float sum = 0.0F;
  for (int lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  state.sum = state.sum * factor + sum;
  state.top = top;
  return factor;
}

using Soften = float (*)(float* scores, std::int64_t low, std::int64_t high, RowState& state);

#if defined(LOWBIT_TARGETS)
__attribute__((target("arch=x86-64-v4"))) float soften_v4(float* scores, std::int64_t low,
                                                          std::int64_t high, RowState& state) {
  return soften<Floats16>(scores, low, high, state);
}
__attribute__((target("arch=x86-64-v3"))) float soften_v3(float* scores, std::int64_t low,
                                                          std::int64_t high, RowState& state) {
  return soften<Floats8>(scores, low, high, state);
}
#endif
float soften_anywhere(float* scores, std::int64_t low, std::int64_t high, RowState& state) {
  return soften<Floats4>(scores, low, high, state);
}

Soften fastest_soften() {
#if defined(LOWBIT_TARGETS)
  if (__builtin_cpu_supports("x86-64-v4")) return soften_v4;
  if (__builtin_cpu_supports("x86-64-v3")) return soften_v3;
#endif
  return soften_anywhere;
}

LOWBIT_CLONES
void scale_row(const float* x, std::int64_t count, float factor, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = x[i] * factor;
}

class Tile {
 public:
  Tile(const PagedAttention& a, std::int64_t begin, std::int64_t end, std::vector<float>& scratch)
      : a_(a), begin_(begin), rows_((end - begin) * a.group), row_(a.page.row()) {
    const std::int64_t head_dim = a.page.head_dim;
    scratch.resize(
        static_cast<std::size_t>(rows_ * (head_dim + row_ + kPagePositions) + tile_floats(a.page)));
    queries_ = scratch.data();
    gathered_ = queries_ + rows_ * head_dim;
    scores_ = gathered_ + rows_ * row_;
    decoded_ = scores_ + rows_ * kPagePositions;
    for (std::int64_t r = 0; r < rows_; ++r) {
      scale_row(a_.q + offset(r), head_dim, a_.scale, queries_ + r * head_dim);
      if (turns_keys(a.page.type)) hadamard(queries_ + r * head_dim, head_dim);
    }
    states_.resize(static_cast<std::size_t>(rows_));
  }

  void run() {
    const std::int64_t first_page = first_seen(position(0)) / kPagePositions;
    const std::int64_t last_page = position(rows_ - 1) / kPagePositions;
    for (std::int64_t page = first_page; page <= last_page; ++page) {
      take(page, page == first_page);
    }
    for (std::int64_t r = 0; r < rows_; ++r) {
      scale_row(gathered_ + r * row_, a_.page.head_dim,
                1.0F / states_[static_cast<std::size_t>(r)].sum, a_.out + offset(r));
    }
  }

 private:
  std::int64_t position(std::int64_t row) const { return a_.first + begin_ + row / a_.group; }
  std::int64_t first_seen(std::int64_t position) const {
    return a_.window > 0 ? std::max<std::int64_t>(0, position - a_.window + 1) : 0;
  }
  std::int64_t offset(std::int64_t row) const {
    return (begin_ + row / a_.group) * a_.stride + row % a_.group * a_.page.head_dim;
  }

  void take(std::int64_t page, bool is_first) {
    const KvTile tile = load_page(a_.page, a_.pages[static_cast<std::size_t>(page)], decoded_);
    panel_product({.rows = rows_,
                   .inner = a_.page.head_dim,
                   .columns = kPagePositions,
                   .a = queries_,
                   .a_row = a_.page.head_dim,
                   .b = tile.keys,
                   .b_row = kPagePositions,
                   .c = scores_,
                   .c_row = kPagePositions});
    const std::int64_t start = page * kPagePositions;
    const auto inside = [&](std::int64_t at) {
      return std::clamp<std::int64_t>(at - start, 0, kPagePositions);
    };
    for (std::int64_t r = 0; r < rows_; ++r) {
      float* const scores = scores_ + r * kPagePositions;
      const std::int64_t low = inside(first_seen(position(r)));
      const std::int64_t high = inside(position(r) + 1);
      if (low >= high) {  // this row sees nothing here, others of the tile do
        std::fill(scores, scores + kPagePositions, 0.0F);
        continue;
      }
      const float factor = soften_(scores, low, high, states_[static_cast<std::size_t>(r)]);
      if (!is_first && factor != 1.0F) {
        scale_row(gathered_ + r * row_, row_, factor, gathered_ + r * row_);
      }
    }
    panel_product({.rows = rows_,
                   .inner = inside(position(rows_ - 1) + 1),
                   .columns = row_,
                   .a = scores_,
                   .a_row = kPagePositions,
                   .b = tile.values,
                   .b_row = row_,
                   .c = gathered_,
                   .c_row = row_,
                   .add = !is_first});
  }

  const PagedAttention& a_;
  std::int64_t begin_, rows_, row_;
  float *queries_, *gathered_, *scores_, *decoded_;
  std::vector<RowState> states_;
  Soften soften_ = fastest_soften();
};

}  // namespace

std::int64_t attention_tile_tokens(std::int64_t group) {
  return std::max<std::int64_t>(1, kTileRows / group);
}

void attend_pages(const PagedAttention& a, std::vector<float>& scratch) {
  const std::int64_t step = attention_tile_tokens(a.group);
  for (std::int64_t begin = 0; begin < a.tokens; begin += step) {
    Tile(a, begin, std::min(begin + step, a.tokens), scratch).run();
  }
}

}  // namespace lowbit
