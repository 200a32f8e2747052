#include "runtime/kv_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace lowbit {
namespace {

std::int64_t pages_for(std::int64_t positions) {
  return (positions + kPagePositions - 1) / kPagePositions;
}

}  // namespace

std::int64_t whole_pages(std::int64_t positions) { return pages_for(positions) * kPagePositions; }

KvShape KvShape::of(const ModelSpec& model, KvType type, std::int64_t blocks) {
  return {.blocks = blocks,
          .kv_heads = model.kv_heads,
          .page = {.type = type, .head_dim = model.head_dim}};
}

std::int64_t KvShape::bytes_of(std::int64_t positions) const {
  return pages_for(positions) * page_bytes();
}

KvPool::KvPool(KvShape shape, std::int64_t positions)
    : shape_(shape), most_pages_(pages_for(positions)) {}

KvSequence::KvSequence(KvSequence&& other) noexcept
    : pool_(other.pool_),
      length_(std::exchange(other.length_, 0)),
      pages_(std::exchange(other.pages_, {})) {}

KvSequence& KvSequence::operator=(KvSequence&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(length_, other.length_);
  std::swap(pages_, other.pages_);
  return *this;
}

Status KvSequence::reserve(std::int64_t length) {
  const std::int64_t more = pages_for(length) - std::ssize(pages_);
  if (more > pool_->free_pages()) {
    return environment_error(
        "cache/full", fmt::format("a sequence of {} positions needs {} more pages of the key-value "
                                  "cache, {} are free; take a larger cache or shorter sequences",
                                  length, more, pool_->free_pages()));
  }
  for (std::int64_t i = 0; i < more; ++i) {
    if (pool_->free_.empty()) {
      pages_.emplace_back(static_cast<std::size_t>(shape().page_bytes()));
    } else {
      pages_.push_back(std::move(pool_->free_.back()));
      pool_->free_.pop_back();
    }
    ++pool_->used_;
  }
  return {};
}

void KvSequence::advance(std::int64_t positions) {
  length_ += positions;
  CHECK(pages_for(length_) <= std::ssize(pages_));
}

void KvSequence::truncate(std::int64_t length) {
  CHECK(length >= 0 && length <= length_);
  length_ = length;
  while (std::ssize(pages_) > pages_for(length)) {
    pool_->free_.push_back(std::move(pages_.back()));
    pages_.pop_back();
    --pool_->used_;
  }
}

std::int64_t KvSequence::offset(std::int64_t block, std::int64_t head) const {
  return (block * shape().kv_heads + head) * shape().page.bytes();
}

void KvSequence::store(std::int64_t block, std::int64_t head, std::int64_t first,
                       std::span<const float> keys, std::span<const float> values,
                       std::int64_t stride) {
  const KvPage& layout = shape().page;
  const std::int64_t at = offset(block, head);
  std::vector<float> turned(static_cast<std::size_t>(layout.head_dim));
  for (std::int64_t i = 0; i * stride < std::ssize(keys); ++i) {
    const std::int64_t position = first + i;
    const float* key = keys.data() + i * stride;
    if (turns_keys(layout.type)) {
      std::copy_n(key, layout.head_dim, turned.data());
      hadamard(turned.data(), layout.head_dim);
      key = turned.data();
    }
    KvPool::Page& page = pages_[static_cast<std::size_t>(position / kPagePositions)];
    store_position(layout, position % kPagePositions, key, values.data() + i * stride,
                   page.data() + at);
  }
}

std::vector<const std::byte*> KvSequence::pages(std::int64_t block, std::int64_t head) const {
  std::vector<const std::byte*> starts;
  starts.reserve(pages_.size());
  for (const KvPool::Page& page : pages_) starts.push_back(page.data() + offset(block, head));
  return starts;
}

}  // namespace lowbit
