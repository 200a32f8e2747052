// The key-value cache: pages of 64 positions, all blocks and key heads in one, taken by sequences
// as they grow and given back when they end, so that many sequences of unequal lengths share one
// memory.
//
// A sequence must not outlive its pool. Not thread-safe, but pages may be read and written by
// several threads at once. Errors: "cache/full" (kind environment).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/kv_page.h"
#include "kernels/packed_weight.h"
#include "model/model_spec.h"

namespace lowbit {

std::int64_t whole_pages(std::int64_t positions);  // rounded up to a multiple of 64

struct KvShape {
  std::int64_t blocks = 0;
  std::int64_t kv_heads = 0;
  KvPage page;  // of one head in one block

  static KvShape of(const ModelSpec& model, KvType type, std::int64_t blocks);
  std::int64_t page_bytes() const { return blocks * kv_heads * page.bytes(); }
  std::int64_t bytes_of(std::int64_t positions) const;  // whole pages
};

class KvPool {
 public:
  // Room for `positions` of all sequences together, each rounded up to whole pages. Memory is taken
  // page by page when it is needed.
  KvPool(KvShape shape, std::int64_t positions);

  const KvShape& shape() const { return shape_; }
  std::int64_t free_pages() const { return most_pages_ - used_; }

 private:
  friend class KvSequence;
  using Page = AlignedVector<std::byte>;

  KvShape shape_;
  std::int64_t most_pages_ = 0;
  std::int64_t used_ = 0;
  std::vector<Page> free_;  // that were used before
};

// Keys and values of the first length() positions of one sequence.
class KvSequence {
 public:
  explicit KvSequence(KvPool& pool) : pool_(&pool) {}
  ~KvSequence() { truncate(0); }
  KvSequence(KvSequence&& other) noexcept;
  KvSequence& operator=(KvSequence&& other) noexcept;

  const KvShape& shape() const { return pool_->shape_; }
  std::int64_t length() const { return length_; }

  Status reserve(std::int64_t length);   // pages for so many positions; all or nothing
  void advance(std::int64_t positions);  // they were stored in every block
  void truncate(std::int64_t length);    // forgets what follows

  // Of consecutive positions from `first` on, reserved before. One block and head.
  void store(std::int64_t block, std::int64_t head, std::int64_t first,
             std::span<const float> keys,    // [positions, stride], of which head_dim are stored
             std::span<const float> values,  // likewise
             std::int64_t stride);
  // Where the pages of one block and head begin.
  std::vector<const std::byte*> pages(std::int64_t block, std::int64_t head) const;

 private:
  std::int64_t offset(std::int64_t block, std::int64_t head) const;

  KvPool* pool_;
  std::int64_t length_ = 0;
  std::vector<KvPool::Page> pages_;
};

}  // namespace lowbit
