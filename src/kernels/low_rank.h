// The product with a low-rank pair (format/scheme.h): y += (x Rᵀ) Lᵀ, in float32.
//
// Every sum runs in one order: the same bits for every number of tokens and threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/scheme.h"

namespace lowbit {

// A pair laid out for the products.
class LowRankProduct {
 public:
  LowRankProduct(const LowRankPair& pair, std::int64_t rank);

  void add(std::span<const float> x,   // [tokens, in]
           std::span<float> y) const;  // [tokens, out]
  std::uint64_t bytes() const { return (right_.size() + left_.size()) * sizeof(float); }

 private:
  std::int64_t rank_, padded_rank_, in_, out_, padded_out_;
  std::vector<float> right_;  // Rᵀ, its rows filled up with zeros: [in, padded rank]
  std::vector<float> left_;   // Lᵀ, likewise: [rank, padded out]
};

// The same sums in double, as they are written: what the above is tested against.
void add_low_rank_reference(std::span<const float> x, const LowRankPair& pair, std::int64_t rank,
                            std::span<float> y);

}  // namespace lowbit
