// The merges that a word still allows, best first: the lowest rank, then the leftmost.
//
// A list of positions for each rank instead of one heap of all: a sweep over one rank proposes
// positions from left to right, so that they arrive sorted, and a long run of one letter costs
// almost no comparisons (a binary heap took 10 times as long on 1 MiB of spaces).
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "text/merge_table.h"

namespace lowbit {

class MergeQueue {
 public:
  struct Candidate {
    std::int32_t position = 0;
    TokenId merged = 0;
  };

  bool empty() const { return ranks_.empty(); }
  void push(const Merge& merge, std::int32_t position);
  Candidate pop();

 private:
  struct Bucket {  // of one rank
    TokenId merged = 0;
    std::size_t taken = 0;                 // of `sorted`
    std::vector<std::int32_t> sorted;      // positions that came in order
    std::vector<std::int32_t> latecomers;  // a heap of those that did not
  };
  std::int32_t take_first(Bucket& bucket);
  std::size_t new_bucket(TokenId merged);

  std::vector<std::int32_t> ranks_;  // a heap of those that have a bucket
  std::unordered_map<std::int32_t, std::size_t> bucket_of_rank_;
  std::vector<Bucket> buckets_;
  std::vector<std::size_t> unused_;  // emptied buckets, whose memory serves again
};

}  // namespace lowbit
