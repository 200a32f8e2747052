// One token from a row of logits.
//
// Errors: sampling/bad-rule.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "text/tokenizer.h"

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

// Applied as the Hugging Face library does, one on what the other leaves: penalty, temperature,
// top_k, top_p, min_p. The likeliest token is always kept.
struct SamplingRule {
  double temperature = 1.0;  // 0: the largest logit, the first of several
  std::int64_t top_k = 0;    // only the k likeliest; 0: all
  double top_p = 1.0;        // only the likeliest that together have this probability; 1: all
  double min_p = 0.0;        // only those with this share of the likeliest's probability; 0: all
  // Divides the positive logits of tokens that were there before and multiplies the negative ones
  // (Keskar et al. 2019, "CTRL"); 1: off; below 1 it invites repetition.
  double repetition_penalty = 1.0;
  std::int64_t penalty_window = 0;  // how many of the last tokens it looks at; 0: all
};

Status check(const SamplingRule& rule);

// `so_far` are the tokens of the sequence, its prompt included. No logit is NaN and the largest is
// finite.
TokenId sample(std::span<const float> logits, const SamplingRule& rule,
               std::span<const TokenId> so_far, RandomNumbers& random);

}  // namespace lowbit
