// One token from a row of logits.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/reference_model.h"

namespace lowbit {

// Its own small generator (SplitMix64), so that one seed gives one text with every standard
// library.
class RandomNumbers {
 public:
  // Streams of one seed are independent: one for each sequence, whatever thread draws.
  RandomNumbers(std::uint64_t seed, std::uint64_t stream);

  double uniform();                        // [0, 1)
  std::int64_t below(std::int64_t count);  // 0 .. count - 1

 private:
  std::uint64_t next();
  std::uint64_t state_;
};

struct SamplingRule {
  double temperature = 1.0;  // 0: the largest logit, the first of several
  std::int64_t top_k = 0;    // 0: all
};

TokenId sample(std::span<const float> logits, const SamplingRule& rule, RandomNumbers& random);

}  // namespace lowbit
