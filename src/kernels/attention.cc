#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/panel_product.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kTile =
    126;  // queries, a multiple of panel_product's rows; 1 MiB of scores at 2048
constexpr std::int64_t kLanes = 16;

struct Tile {
  std::int64_t begin, end, first_key;
  std::int64_t queries() const { return end - begin; }
  // Keys from first_key on, rounded up to whole vectors; what the mask hides becomes 0.
  std::int64_t keys() const { return (end - first_key + kLanes - 1) / kLanes * kLanes; }
};

Tile tile_at(const AttentionView& a, std::int64_t begin) {
  const std::int64_t first = a.window > 0 ? std::max<std::int64_t>(0, begin - a.window + 1) : 0;
  return {begin, std::min(begin + kTile, a.tokens), first / kLanes * kLanes};
}

std::int64_t padded_tokens(const AttentionView& a) {
  return (a.tokens + kLanes - 1) / kLanes * kLanes;
}

// [tokens, head_dim] as [head_dim, padded tokens], zeros behind.
std::vector<float> transposed(const AttentionView& a, const float* rows) {
  const std::int64_t width = padded_tokens(a);
  std::vector<float> columns(static_cast<std::size_t>(a.head_dim * width));
  for (std::int64_t t = 0; t < a.tokens; ++t) {
    for (std::int64_t d = 0; d < a.head_dim; ++d) {
      columns[static_cast<std::size_t>(d * width + t)] = rows[t * a.head_dim + d];
    }
  }
  return columns;
}

// Softmax in place of scale * x over entries [low, high) of a row of `size`; the others become 0.
LOWBIT_CLONES
void softmax_span(float* row, std::int64_t size, std::int64_t low, std::int64_t high, float scale) {
  std::fill(row, row + low, 0.0F);
  std::fill(row + high, row + size, 0.0F);
  float* x = row + low;
  const std::int64_t count = high - low;
  const std::int64_t whole = count - count % kLanes;
  Floats16 highest = splat16(-INFINITY);
  for (std::int64_t j = 0; j < whole; j += kLanes) highest = max16(highest, load16(x + j));
  float top = reduce_max(highest);
  for (std::int64_t j = whole; j < count; ++j) top = std::max(top, x[j]);
  Floats16 sums = splat16(0.0F);
  for (std::int64_t j = 0; j < whole; j += kLanes) {
    const Floats16 e = exp16((load16(x + j) - top) * scale);
    store16(x + j, e);
    sums += e;
  }
  float sum = reduce_sum(sums);
  for (std::int64_t j = whole; j < count; ++j) {
    x[j] = std::exp((x[j] - top) * scale);
    sum += x[j];
  }
  const float factor = 1.0F / sum;
  for (std::int64_t j = 0; j < count; ++j) x[j] *= factor;
}

// The tile's queries (or their gradients) times columns of all keys: [queries, keys].
void against_keys(const AttentionView& a, const Tile& tile, const float* queries,
                  const std::vector<float>& key_columns, float* scores) {
  panel_product({.rows = tile.queries(),
                 .inner = a.head_dim,
                 .columns = tile.keys(),
                 .a = queries,
                 .a_row = a.head_dim,
                 .b = key_columns.data() + tile.first_key,
                 .b_row = padded_tokens(a),
                 .c = scores,
                 .c_row = tile.keys()});
}

// Scores times rows of all keys (k or v): [queries, head_dim].
void by_keys(const AttentionView& a, const Tile& tile, const float* scores, const float* rows,
             float* out) {
  panel_product({.rows = tile.queries(),
                 .inner = tile.end - tile.first_key,
                 .columns = a.head_dim,
                 .a = scores,
                 .a_row = tile.keys(),
                 .b = rows + tile.first_key * a.head_dim,
                 .b_row = a.head_dim,
                 .c = out,
                 .c_row = a.head_dim});
}

// rows of all keys += scores^T queries: [keys, head_dim].
void onto_keys(const AttentionView& a, const Tile& tile, const float* scores, const float* queries,
               float* rows) {
  panel_product({.rows = tile.end - tile.first_key,
                 .inner = tile.queries(),
                 .columns = a.head_dim,
                 .a = scores,
                 .a_row = 1,
                 .a_inner = tile.keys(),
                 .b = queries,
                 .b_row = a.head_dim,
                 .c = rows + tile.first_key * a.head_dim,
                 .c_row = a.head_dim,
                 .add = true});
}

void probabilities(const AttentionView& a, const Tile& tile, const float* q,
                   const std::vector<float>& key_columns, float* p) {
  against_keys(a, tile, q, key_columns, p);
  for (std::int64_t i = 0; i < tile.queries(); ++i) {
    const std::int64_t position = tile.begin + i;
    const std::int64_t first =
        a.window > 0 ? std::max<std::int64_t>(0, position - a.window + 1) : 0;
    softmax_span(p + i * tile.keys(), tile.keys(), first - tile.first_key,
                 position + 1 - tile.first_key, a.scale);
  }
}

// d scores = p * (d p - <upstream, out>), times the scores' scale; in place of d p.
LOWBIT_CLONES
void score_gradients(const AttentionView& a, const Tile& tile, const float* p,
                     const float* upstream, const float* out, float* d) {
  for (std::int64_t i = 0; i < tile.queries(); ++i) {
    float along = 0.0F;
    for (std::int64_t j = 0; j < a.head_dim; ++j) {
      along += upstream[i * a.head_dim + j] * out[i * a.head_dim + j];
    }
    const float* probability = p + i * tile.keys();
    float* gradient = d + i * tile.keys();
    for (std::int64_t j = 0; j < tile.keys(); ++j) {
      gradient[j] = probability[j] * (gradient[j] - along) * a.scale;
    }
  }
}

}  // namespace

void attention_forward(const AttentionView& a, float* out) {
  const std::vector<float> key_columns = transposed(a, a.k);
  std::vector<float> p(static_cast<std::size_t>(kTile * padded_tokens(a)));
  for (std::int64_t head = 0; head < a.group; ++head) {
    for (std::int64_t begin = 0; begin < a.tokens; begin += kTile) {
      const Tile tile = tile_at(a, begin);
      const std::int64_t at = (head * a.tokens + begin) * a.head_dim;
      probabilities(a, tile, a.q + at, key_columns, p.data());
      by_keys(a, tile, p.data(), a.v, out + at);
    }
  }
}

void attention_backward(const AttentionView& a, const AttentionGradients& g) {
  const std::vector<float> key_columns = transposed(a, a.k);
  const std::vector<float> value_columns = transposed(a, a.v);
  std::vector<float> p(static_cast<std::size_t>(kTile * padded_tokens(a)));
  std::vector<float> d(p.size());
  std::fill(g.k, g.k + a.tokens * a.head_dim, 0.0F);
  std::fill(g.v, g.v + a.tokens * a.head_dim, 0.0F);
  for (std::int64_t head = 0; head < a.group; ++head) {
    for (std::int64_t begin = 0; begin < a.tokens; begin += kTile) {
      const Tile tile = tile_at(a, begin);
      const std::int64_t at = (head * a.tokens + begin) * a.head_dim;
      probabilities(a, tile, a.q + at, key_columns, p.data());
      onto_keys(a, tile, p.data(), g.upstream + at, g.v);
      against_keys(a, tile, g.upstream + at, value_columns, d.data());
      score_gradients(a, tile, p.data(), g.upstream + at, g.out + at, d.data());
      onto_keys(a, tile, d.data(), a.q + at, g.k);
      by_keys(a, tile, d.data(), a.k, g.q + at);
    }
  }
}

}  // namespace lowbit
