// The merges of a BPE model: what a pair of tokens becomes, and how early.
#pragma once

#include <cstdint>
#include <vector>

#include "text/tokenizer.h"

namespace lowbit {

struct Merge {
  TokenId left = 0;
  TokenId right = 0;
  TokenId merged = 0;
  std::int32_t rank = 0;  // the lowest is merged first
};

// Sorted rather than hashed: a file cannot choose its ids so that all of them collide.
class MergeTable {
 public:
  MergeTable() = default;
  // Of equal pairs the last one counts, as in the Hugging Face library.
  MergeTable(std::vector<Merge> merges, TokenId end_id);

  const Merge* find(TokenId left, TokenId right) const;
  const std::vector<Merge>& merges() const { return merges_; }

 private:
  std::vector<Merge> merges_;         // by left, then right
  std::vector<std::uint32_t> begin_;  // of each left token's merges; one more at the end
};

}  // namespace lowbit
