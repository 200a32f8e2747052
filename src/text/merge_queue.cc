#include "text/merge_queue.h"

#include <algorithm>
#include <functional>

namespace lowbit {
namespace {

constexpr auto kLowestFirst = std::greater<>{};

}  // namespace

void MergeQueue::push(const Merge& merge, std::int32_t position) {
  const auto [entry, is_new] = bucket_of_rank_.try_emplace(merge.rank, 0);
  if (is_new) {
    entry->second = new_bucket(merge.merged);
    ranks_.push_back(merge.rank);
    std::push_heap(ranks_.begin(), ranks_.end(), kLowestFirst);
  }
  Bucket& bucket = buckets_[entry->second];
  if (bucket.sorted.empty() || position >= bucket.sorted.back()) {
    bucket.sorted.push_back(position);
  } else {
    bucket.latecomers.push_back(position);
    std::push_heap(bucket.latecomers.begin(), bucket.latecomers.end(), kLowestFirst);
  }
}

MergeQueue::Candidate MergeQueue::pop() {
  const auto entry = bucket_of_rank_.find(ranks_.front());
  Bucket& bucket = buckets_[entry->second];
  const Candidate first{take_first(bucket), bucket.merged};
  if (bucket.taken == bucket.sorted.size() && bucket.latecomers.empty()) {
    unused_.push_back(entry->second);
    bucket_of_rank_.erase(entry);
    std::pop_heap(ranks_.begin(), ranks_.end(), kLowestFirst);
    ranks_.pop_back();
  }
  return first;
}

std::int32_t MergeQueue::take_first(Bucket& bucket) {
  const bool sorted_left = bucket.taken < bucket.sorted.size();
  const bool late_first = !bucket.latecomers.empty() &&
                          (!sorted_left || bucket.latecomers.front() < bucket.sorted[bucket.taken]);
  if (!late_first) return bucket.sorted[bucket.taken++];
  const std::int32_t first = bucket.latecomers.front();
  std::pop_heap(bucket.latecomers.begin(), bucket.latecomers.end(), kLowestFirst);
  bucket.latecomers.pop_back();
  return first;
}

std::size_t MergeQueue::new_bucket(TokenId merged) {
  if (unused_.empty()) {
    unused_.push_back(buckets_.size());
    buckets_.emplace_back();
  }
  const std::size_t index = unused_.back();
  unused_.pop_back();
  Bucket& bucket = buckets_[index];
  bucket.merged = merged;
  bucket.taken = 0;
  bucket.sorted.clear();
  return index;
}

}  // namespace lowbit
