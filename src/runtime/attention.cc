#include "runtime/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/paged_attention.h"

namespace lowbit {
namespace {

// Queries of one run and key head that one thread takes at once.
struct Task {
  std::size_t run = 0;
  std::int64_t head = 0;
  std::int64_t begin = 0, end = 0;  // tokens of the run
};

class Attention {
 public:
  Attention(const ModelSpec& model, std::int64_t block, std::span<const SequenceRun> runs,
            const float* q, const float* k, const float* v, float* out)
      : model_(model),
        block_(block),
        runs_(runs),
        q_(q),
        k_(k),
        v_(v),
        out_(out),
        group_(model.heads / model.kv_heads),
        query_width_(model.heads * model.head_dim),
        key_width_(model.kv_heads * model.head_dim),
        tile_(attention_tile_tokens(group_)) {
    std::int64_t row = 0;
    for (const SequenceRun& run : runs) {
      rows_.push_back(row);
      row += run.tokens;
    }
  }

  // Stores what a head of a run brings. One that fits a tile, as a single new token does, is
  // attended to by the same thread at once.
  void store(std::int64_t task, std::vector<float>& scratch) const {
    const auto run = static_cast<std::size_t>(task / model_.kv_heads);
    const std::int64_t head = task % model_.kv_heads;
    const std::int64_t tokens = runs_[run].tokens;
    const std::int64_t at = rows_[run] * key_width_ + head * model_.head_dim;
    const auto size = static_cast<std::size_t>((tokens - 1) * key_width_ + model_.head_dim);
    runs_[run].cache->store(block_, head, runs_[run].cache->length(), {k_ + at, size},
                            {v_ + at, size}, key_width_);
    if (tokens <= tile_) attend({run, head, 0, tokens}, scratch);
  }

  // What store() left. Late tiles see more keys than early ones: a head's tiles alternate between
  // its ends, so that equal runs of tasks are about equal work.
  std::vector<Task> tiles() const {
    std::vector<Task> tasks;
    for (std::size_t run = 0; run < runs_.size(); ++run) {
      const std::int64_t tokens = runs_[run].tokens;
      if (tokens <= tile_) continue;
      const std::int64_t count = (tokens + tile_ - 1) / tile_;
      for (std::int64_t head = 0; head < model_.kv_heads; ++head) {
        for (std::int64_t turn = 0; turn < count; ++turn) {
          const std::int64_t tile = turn % 2 == 0 ? turn / 2 : count - 1 - turn / 2;
          tasks.push_back({run, head, tile * tile_, std::min((tile + 1) * tile_, tokens)});
        }
      }
    }
    return tasks;
  }

  void attend(const Task& task, std::vector<float>& scratch) const {
    const KvSequence& cache = *runs_[task.run].cache;
    const std::int64_t at =
        (rows_[task.run] + task.begin) * query_width_ + task.head * group_ * model_.head_dim;
    const std::vector<const std::byte*> pages = cache.pages(block_, task.head);
    attend_pages({.page = cache.shape().page,
                  .group = group_,
                  .first = cache.length() + task.begin,
                  .tokens = task.end - task.begin,
                  .window = model_.sliding_window.value_or(0),
                  .scale = 1.0F / std::sqrt(static_cast<float>(model_.head_dim)),
                  .q = q_ + at,
                  .out = out_ + at,
                  .stride = query_width_,
                  .pages = pages},
                 scratch);
  }

 private:
  const ModelSpec& model_;
  std::int64_t block_;
  std::span<const SequenceRun> runs_;
  const float *q_, *k_, *v_;
  float* out_;
  std::int64_t group_, query_width_, key_width_, tile_;
  std::vector<std::int64_t> rows_;  // where each run begins
};

}  // namespace

void attend(const ModelSpec& model, std::int64_t block, std::span<const SequenceRun> runs,
            std::span<const float> q, std::span<const float> k, std::span<const float> v,
            std::span<float> out) {
  CHECK(q.size() == out.size() && k.size() == v.size());
  const Attention attention(model, block, runs, q.data(), k.data(), v.data(), out.data());
  const std::int64_t heads = std::ssize(runs) * model.kv_heads;
  parallel_for(heads, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scratch;
    for (std::int64_t task = begin; task < end; ++task) attention.store(task, scratch);
  });
  const std::vector<Task> tiles = attention.tiles();
  parallel_for(std::ssize(tiles), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scratch;
    for (std::int64_t task = begin; task < end; ++task) {
      attention.attend(tiles[static_cast<std::size_t>(task)], scratch);
    }
  });
}

}  // namespace lowbit
