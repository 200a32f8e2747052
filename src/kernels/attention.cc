#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/panel_product.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kQueries = 126;  // of a tile, a multiple of panel_product's rows
constexpr std::int64_t kKeys = 240;     // of a tile of the backward pass, likewise
constexpr std::int64_t kLanes = 16;

std::int64_t whole_vectors(std::int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Rows lie an odd number of cache lines apart: a power of two would map all of them to a few sets
// of the cache.
std::int64_t row_stride(std::int64_t width) {
  return whole_vectors(width) / kLanes % 2 == 0 ? whole_vectors(width) + kLanes
                                                : whole_vectors(width);
}

// Queries against keys [first_key, last_key); scores have keys() columns, what the mask hides among
// them is 0.
struct Tile {
  std::int64_t begin, end, first_key, last_key;
  std::int64_t queries() const { return end - begin; }
  std::int64_t keys() const { return whole_vectors(last_key - first_key); }
};

// The first position that `position` sees.
std::int64_t first_seen(const AttentionView& a, std::int64_t position) {
  return a.window > 0 ? std::max<std::int64_t>(0, position - a.window + 1) : 0;
}

// Rows [first, last) of [tokens, head_dim] as columns: [head_dim, stride], zeros behind.
void transpose_rows(const AttentionView& a, const float* rows, std::int64_t first,
                    std::int64_t last, std::int64_t stride, float* columns) {
  std::fill(columns, columns + a.head_dim * stride, 0.0F);
  for (std::int64_t t = first; t < last; ++t) {
    for (std::int64_t d = 0; d < a.head_dim; ++d) {
      columns[d * stride + t - first] = rows[t * a.head_dim + d];
    }
  }
}

// Softmax in place of scale * x over entries [low, high) of a row of `size`; the others become 0.
// Returns the log of the sum of the exponentials.
LOWBIT_CLONES
float softmax_span(float* row, std::int64_t size, std::int64_t low, std::int64_t high,
                   float scale) {
  std::fill(row, row + low, 0.0F);
  std::fill(row + high, row + size, 0.0F);
  float* x = row + low;
  const std::int64_t count = high - low;
  const std::int64_t whole = count - count % 8;
  Floats8 highest = Floats8{} - INFINITY;
  for (std::int64_t j = 0; j < whole; j += 8) highest = max_of(highest, load<Floats8>(x + j));
  float top = reduce_max(highest);
  for (std::int64_t j = whole; j < count; ++j) top = std::max(top, x[j]);
  Floats8 sums{};
  for (std::int64_t j = 0; j < whole; j += 8) {
    const Floats8 e = exp_of((load<Floats8>(x + j) - top) * scale);
    store(x + j, e);
    sums += e;
  }
  float sum = reduce_sum(sums);
  for (std::int64_t j = whole; j < count; ++j) {
    x[j] = std::exp((x[j] - top) * scale);
    sum += x[j];
  }
  const float factor = 1.0F / sum;
  for (std::int64_t j = 0; j < count; ++j) x[j] *= factor;
  return top * scale + std::log(sum);
}

// One row of a tile of the backward pass. p: scores, which become probabilities
// exp(scale * score - log_sum) over entries [low, high) and 0 elsewhere; d: d p, which becomes
// d score = scale * p * (d p - along).
LOWBIT_CLONES
void score_gradients(float* p, float* d, std::int64_t size, std::int64_t low, std::int64_t high,
                     float scale, float log_sum, float along) {
  for (std::int64_t j = 0; j < size; j += 8) {
    const Floats8 probability = exp_of(load<Floats8>(p + j) * scale - log_sum);
    store(p + j, probability);
    store(d + j, probability * (load<Floats8>(d + j) - along) * scale);
  }
  std::fill(p, p + low, 0.0F);
  std::fill(d, d + low, 0.0F);
  std::fill(p + high, p + size, 0.0F);
  std::fill(d + high, d + size, 0.0F);
}

// The tile's queries (or their gradients) times columns of its keys: [queries, keys].
void against_keys(const AttentionView& a, const Tile& tile, const float* queries,
                  const float* key_columns, std::int64_t column_stride, float* scores,
                  std::int64_t stride) {
  panel_product({.rows = tile.queries(),
                 .inner = a.head_dim,
                 .columns = tile.keys(),
                 .a = queries,
                 .a_row = a.head_dim,
                 .b = key_columns,
                 .b_row = column_stride,
                 .c = scores,
                 .c_row = stride});
}

// out = (or +=) scores times rows of the tile's keys (k or v): [queries, head_dim].
void by_keys(const AttentionView& a, const Tile& tile, const float* scores, std::int64_t stride,
             const float* rows, float* out, bool add) {
  panel_product({.rows = tile.queries(),
                 .inner = tile.last_key - tile.first_key,
                 .columns = a.head_dim,
                 .a = scores,
                 .a_row = stride,
                 .b = rows + tile.first_key * a.head_dim,
                 .b_row = a.head_dim,
                 .c = out,
                 .c_row = a.head_dim,
                 .add = add});
}

// rows of the tile's keys += scores^T queries: [keys, head_dim].
void onto_keys(const AttentionView& a, const Tile& tile, const float* scores, std::int64_t stride,
               const float* queries, float* rows) {
  panel_product({.rows = tile.last_key - tile.first_key,
                 .inner = tile.queries(),
                 .columns = a.head_dim,
                 .a = scores,
                 .a_row = 1,
                 .a_inner = stride,
                 .b = queries,
                 .b_row = a.head_dim,
                 .c = rows + tile.first_key * a.head_dim,
                 .c_row = a.head_dim,
                 .add = true});
}

// <upstream, out> of each query: what the softmax's gradient subtracts. [group, tokens]
LOWBIT_CLONES
void row_products(const AttentionView& a, const AttentionGradients& g, float* along) {
  for (std::int64_t row = 0; row < a.group * a.tokens; ++row) {
    Floats16 sum = splat16(0.0F);
    for (std::int64_t d = 0; d < a.head_dim; d += kLanes) {
      const std::int64_t at = row * a.head_dim + d;
      sum += load16(g.upstream + at) * load16(g.out + at);
    }
    along[row] = reduce_sum(sum);
  }
}

// What one block of keys adds to all gradients. p and d have room for a tile.
struct BackwardBlock {
  const AttentionView& a;
  const AttentionGradients& g;
  const float* along;
  std::int64_t stride;  // of the columns and of p and d
  float *key_columns, *value_columns, *p, *d;

  void tile(std::int64_t head, const Tile& t) const {
    const std::int64_t row = head * a.tokens + t.begin;
    const std::int64_t at = row * a.head_dim;
    against_keys(a, t, a.q + at, key_columns, stride, p, stride);
    against_keys(a, t, g.upstream + at, value_columns, stride, d, stride);
    for (std::int64_t i = 0; i < t.queries(); ++i) {
      const std::int64_t position = t.begin + i;
      const auto inside = [&](std::int64_t key) {
        return std::clamp<std::int64_t>(key - t.first_key, 0, t.last_key - t.first_key);
      };
      const std::int64_t high = inside(position + 1);
      const std::int64_t low = std::min(inside(first_seen(a, position)), high);
      score_gradients(p + i * stride, d + i * stride, t.keys(), low, high, a.scale,
                      g.log_sums[row + i], along[row + i]);
    }
    onto_keys(a, t, p, stride, g.upstream + at, g.v);
    onto_keys(a, t, d, stride, a.q + at, g.k);
    by_keys(a, t, d, stride, a.k, g.q + at, true);
  }

  void run(std::int64_t first_key, std::int64_t last_key) const {
    transpose_rows(a, a.k, first_key, last_key, stride, key_columns);
    transpose_rows(a, a.v, first_key, last_key, stride, value_columns);
    const std::int64_t last_query =
        a.window > 0 ? std::min(a.tokens, last_key + a.window - 1) : a.tokens;
    for (std::int64_t head = 0; head < a.group; ++head) {
      for (std::int64_t begin = first_key; begin < last_query; begin += kQueries) {
        const std::int64_t end = std::min(begin + kQueries, last_query);
        tile(head, {begin, end, first_key, std::min(last_key, end)});
      }
    }
  }
};

}  // namespace

void attention_forward(const AttentionView& a, const AttentionResult& result) {
  const std::int64_t stride = row_stride(a.tokens);
  std::vector<float> key_columns(static_cast<std::size_t>(a.head_dim * stride));
  transpose_rows(a, a.k, 0, a.tokens, stride, key_columns.data());
  std::vector<float> p(static_cast<std::size_t>(kQueries * stride));
  for (std::int64_t head = 0; head < a.group; ++head) {
    for (std::int64_t begin = 0; begin < a.tokens; begin += kQueries) {
      const std::int64_t end = std::min(begin + kQueries, a.tokens);
      const Tile tile{begin, end, first_seen(a, begin) / kLanes * kLanes, end};
      const std::int64_t row = head * a.tokens + begin;
      against_keys(a, tile, a.q + row * a.head_dim, key_columns.data() + tile.first_key, stride,
                   p.data(), stride);
      for (std::int64_t i = 0; i < tile.queries(); ++i) {
        const float log_sum = softmax_span(p.data() + i * stride, tile.keys(),
                                           first_seen(a, begin + i) - tile.first_key,
                                           begin + i + 1 - tile.first_key, a.scale);
        if (result.log_sums != nullptr) result.log_sums[row + i] = log_sum;
      }
      by_keys(a, tile, p.data(), stride, a.v, result.out + row * a.head_dim, false);
    }
  }
}

void attention_backward(const AttentionView& a, const AttentionGradients& g) {
  std::fill(g.q, g.q + a.group * a.tokens * a.head_dim, 0.0F);
  std::fill(g.k, g.k + a.tokens * a.head_dim, 0.0F);
  std::fill(g.v, g.v + a.tokens * a.head_dim, 0.0F);
  const std::int64_t stride = row_stride(kKeys);
  const auto floats = [](std::int64_t count) {
    return std::vector<float>(static_cast<std::size_t>(count));
  };
  auto along = floats(a.group * a.tokens);
  row_products(a, g, along.data());
  auto key_columns = floats(a.head_dim * stride);
  auto value_columns = floats(a.head_dim * stride);
  auto p = floats(kQueries * stride);
  auto d = floats(kQueries * stride);
  const BackwardBlock block{.a = a,
                            .g = g,
                            .along = along.data(),
                            .stride = stride,
                            .key_columns = key_columns.data(),
                            .value_columns = value_columns.data(),
                            .p = p.data(),
                            .d = d.data()};
  for (std::int64_t first = 0; first < a.tokens; first += kKeys) {
    block.run(first, std::min(first + kKeys, a.tokens));
  }
}

}  // namespace lowbit
