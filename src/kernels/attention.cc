#include "kernels/attention.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kTile = 128;  // queries; their scores against 2048 keys are 1 MiB
constexpr std::int64_t kLanes = 16;

struct Tile {
  std::int64_t begin, end, first_key;
  std::int64_t queries() const { return end - begin; }
  std::int64_t keys() const { return end - first_key; }
};

Tile tile_at(const AttentionView& a, std::int64_t begin) {
  const std::int64_t first =
      a.window > 0 ? std::max<std::int64_t>(0, begin - a.window + 1) : std::int64_t{0};
  return {begin, std::min(begin + kTile, a.tokens), first};
}

// c [m, n] = factor * a b + keep * c, each row major, a and b as they are or transposed.
struct Product {
  CBLAS_TRANSPOSE a, b;
  std::int64_t m, n, inner;
  float factor = 1.0F, keep = 0.0F;
};

void multiply(const Product& p, const float* a, const float* b, float* c) {
  const auto columns = [](CBLAS_TRANSPOSE t, std::int64_t plain, std::int64_t transposed) {
    return static_cast<int>(t == CblasNoTrans ? plain : transposed);
  };
  cblas_sgemm(CblasRowMajor, p.a, p.b, static_cast<int>(p.m), static_cast<int>(p.n),
              static_cast<int>(p.inner), p.factor, a, columns(p.a, p.inner, p.m), b,
              columns(p.b, p.n, p.inner), p.keep, c, static_cast<int>(p.n));
}

// Softmax in place over entries [low, high) of a row of `size`; the others become 0.
LOWBIT_CLONES
void softmax_span(float* row, std::int64_t size, std::int64_t low, std::int64_t high) {
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
    const Floats16 e = exp16(load16(x + j) - top);
    store16(x + j, e);
    sums += e;
  }
  float sum = reduce_sum(sums);
  for (std::int64_t j = whole; j < count; ++j) {
    x[j] = std::exp(x[j] - top);
    sum += x[j];
  }
  const float factor = 1.0F / sum;
  for (std::int64_t j = 0; j < count; ++j) x[j] *= factor;
}

// Probabilities of one head's tile, [queries, keys].
void probabilities(const AttentionView& a, const Tile& tile, const float* q, float* p) {
  multiply({.a = CblasNoTrans,
            .b = CblasTrans,
            .m = tile.queries(),
            .n = tile.keys(),
            .inner = a.head_dim,
            .factor = a.scale},
           q, a.k + tile.first_key * a.head_dim, p);
  for (std::int64_t i = 0; i < tile.queries(); ++i) {
    const std::int64_t position = tile.begin + i;
    const std::int64_t first =
        a.window > 0 ? std::max<std::int64_t>(0, position - a.window + 1) : 0;
    softmax_span(p + i * tile.keys(), tile.keys(), first - tile.first_key,
                 position + 1 - tile.first_key);
  }
}

// d scores = p * (d p - row), row = <upstream, out> of the query; times the scores' scale.
LOWBIT_CLONES
void score_gradients(const float* p, const float* row, std::int64_t queries, std::int64_t keys,
                     float scale, float* d) {
  for (std::int64_t i = 0; i < queries; ++i) {
    const float* probability = p + i * keys;
    float* gradient = d + i * keys;
    const float along = row[i];
    for (std::int64_t j = 0; j < keys; ++j) {
      gradient[j] = probability[j] * (gradient[j] - along) * scale;
    }
  }
}

}  // namespace

void attention_forward(const AttentionView& a, float* out) {
  std::vector<float> p(static_cast<std::size_t>(kTile * a.tokens));
  for (std::int64_t head = 0; head < a.group; ++head) {
    for (std::int64_t begin = 0; begin < a.tokens; begin += kTile) {
      const Tile tile = tile_at(a, begin);
      const std::int64_t at = (head * a.tokens + begin) * a.head_dim;
      probabilities(a, tile, a.q + at, p.data());
      multiply({.a = CblasNoTrans,
                .b = CblasNoTrans,
                .m = tile.queries(),
                .n = a.head_dim,
                .inner = tile.keys()},
               p.data(), a.v + tile.first_key * a.head_dim, out + at);
    }
  }
}

void attention_backward(const AttentionView& a, const AttentionGradients& g) {
  const auto tile_size = static_cast<std::size_t>(kTile * a.tokens);
  std::vector<float> p(tile_size), d(tile_size), row(static_cast<std::size_t>(kTile));
  std::fill(g.k, g.k + a.tokens * a.head_dim, 0.0F);
  std::fill(g.v, g.v + a.tokens * a.head_dim, 0.0F);
  for (std::int64_t head = 0; head < a.group; ++head) {
    for (std::int64_t begin = 0; begin < a.tokens; begin += kTile) {
      const Tile tile = tile_at(a, begin);
      const std::int64_t at = (head * a.tokens + begin) * a.head_dim;
      const std::int64_t key = tile.first_key * a.head_dim;
      const float* upstream = g.upstream + at;
      probabilities(a, tile, a.q + at, p.data());
      for (std::int64_t i = 0; i < tile.queries(); ++i) {
        row[static_cast<std::size_t>(i)] =
            cblas_sdot(static_cast<int>(a.head_dim), upstream + i * a.head_dim, 1,
                       g.out + at + i * a.head_dim, 1);
      }
      const Product by_key{.a = CblasTrans,
                           .b = CblasNoTrans,
                           .m = tile.keys(),
                           .n = a.head_dim,
                           .inner = tile.queries(),
                           .keep = 1.0F};
      multiply(by_key, p.data(), upstream, g.v + key);
      multiply({.a = CblasNoTrans,
                .b = CblasTrans,
                .m = tile.queries(),
                .n = tile.keys(),
                .inner = a.head_dim},
               upstream, a.v + key, d.data());
      score_gradients(p.data(), row.data(), tile.queries(), tile.keys(), a.scale, d.data());
      multiply(by_key, d.data(), a.q + at, g.k + key);
      multiply({.a = CblasNoTrans,
                .b = CblasNoTrans,
                .m = tile.queries(),
                .n = a.head_dim,
                .inner = tile.keys()},
               d.data(), a.k + key, g.q + at);
    }
  }
}

}  // namespace lowbit
