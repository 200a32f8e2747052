#include "runtime/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/vector_math.h"
#include "runtime/blas.h"

namespace lowbit {
namespace {

constexpr std::int64_t kTileQueries = 256;

// Softmax of `count` scores in place. The scores are finite or NaN; NaN reaches the result.
LOWBIT_CLONES void softmax(float* scores, std::int64_t count) {
  Floats16 tops = splat16(scores[0]);
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) tops = max16(tops, load16(scores + i));
  float top = reduce_max(tops);
  for (; i < count; ++i) top = scores[i] > top ? scores[i] : top;

  Floats16 sums{};
  float tail = 0.0F;
  for (i = 0; i + 16 <= count; i += 16) {
    const Floats16 e = exp16(load16(scores + i) - top);
    store16(scores + i, e);
    sums += e;
  }
  if (i < count) {
    const Floats16 e = exp16(load16_partial(scores + i, count - i) - top);
    for (std::int64_t lane = 0; i + lane < count; ++lane) {
      scores[i + lane] = e[lane];
      tail += e[lane];
    }
  }
  const float scale = 1.0F / (reduce_sum(sums) + tail);
  for (i = 0; i < count; ++i) scores[i] *= scale;
}

// Positions [begin, end).
struct Positions {
  std::int64_t begin, end;
};

class Attention {
 public:
  Attention(const ModelSpec& model, const KeyValues& cache, std::span<const float> queries,
            std::span<float> out)
      : model_(model),
        cache_(cache),
        queries_(queries.data()),
        out_(out.data()),
        query_width_(model.heads * model.head_dim),
        key_width_(model.kv_heads * model.head_dim),
        tokens_(std::ssize(queries) / query_width_),
        first_position_(std::ssize(cache.keys) / key_width_ - tokens_),
        tiles_((tokens_ + kTileQueries - 1) / kTileQueries) {
    CHECK(first_position_ >= 0 && out.size() == queries.size());
  }

  std::int64_t tasks() const { return model_.heads * tiles_; }

  // Late tiles see more keys than early ones: a head's tiles alternate between its ends, so that
  // equal runs of tasks are about equal work.
  void run(std::int64_t task, std::vector<float>& scores) const {
    const std::int64_t turn = task % tiles_;
    const std::int64_t tile = turn % 2 == 0 ? turn / 2 : tiles_ - 1 - turn / 2;
    const std::int64_t begin = tile * kTileQueries;
    run_tile(task / tiles_, begin, std::min(begin + kTileQueries, tokens_), scores);
  }

 private:
  // What the query at `position` sees, itself included.
  Positions visible(std::int64_t position) const {
    const std::int64_t reach = model_.sliding_window.value_or(position + 1);
    return {std::max<std::int64_t>(0, position + 1 - reach), position + 1};
  }

  void run_tile(std::int64_t head, std::int64_t begin, std::int64_t end,
                std::vector<float>& scores) const {
    const std::int64_t key_head = head / (model_.heads / model_.kv_heads);
    const Positions seen{visible(first_position_ + begin).begin,
                         visible(first_position_ + end - 1).end};
    const std::int64_t keys = seen.end - seen.begin;
    const std::int64_t key_offset = seen.begin * key_width_ + key_head * model_.head_dim;
    const std::int64_t query_offset = begin * query_width_ + head * model_.head_dim;
    scores.resize(static_cast<std::size_t>((end - begin) * keys));

    product_transposed(1.0F / std::sqrt(static_cast<float>(model_.head_dim)),
                       {queries_ + query_offset, end - begin, model_.head_dim, query_width_},
                       {cache_.keys.data() + key_offset, keys, model_.head_dim, key_width_},
                       {scores.data(), end - begin, keys, keys});
    for (std::int64_t row = begin; row < end; ++row) {
      const Positions own = visible(first_position_ + row);
      float* const line = scores.data() + (row - begin) * keys;
      std::fill(line, line + (own.begin - seen.begin), 0.0F);
      softmax(line + (own.begin - seen.begin), own.end - own.begin);
      std::fill(line + (own.end - seen.begin), line + keys, 0.0F);
    }
    product({scores.data(), end - begin, keys, keys},
            {cache_.values.data() + key_offset, keys, model_.head_dim, key_width_},
            {out_ + query_offset, end - begin, model_.head_dim, query_width_});
  }

  const ModelSpec& model_;
  const KeyValues& cache_;
  const float* queries_;
  float* out_;
  std::int64_t query_width_, key_width_;
  std::int64_t tokens_, first_position_;
  std::int64_t tiles_;
};

}  // namespace

void attend(const ModelSpec& model, const KeyValues& cache, std::span<const float> queries,
            std::span<float> out) {
  const SingleThreadedBlas single;
  const Attention attention(model, cache, queries, out);
  parallel_for(attention.tasks(), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scores;
    for (std::int64_t task = begin; task < end; ++task) attention.run(task, scores);
  });
}

}  // namespace lowbit
