// Passes over a row of logits, sixteen at a time: a vocabulary has up to 152 000 tokens, and a draw
// should cost little beside the forward pass before it. No logit is NaN.
#pragma once

#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace lowbit {

// The largest logit of each kLogitsPerBlock; what looks for large ones may skip most blocks.
constexpr std::size_t kLogitsPerBlock = 128;
std::vector<float> block_maxima(std::span<const float> logits);

// Ids whose logit is at least `least`, rising.
std::vector<TokenId> ids_from(std::span<const float> logits, std::span<const float> maxima,
                              float least);

// The sum of exp((logit - top) / temperature), within 1e-5 of itself; `top` is the largest logit.
double weight_sum(std::span<const float> logits, float top, double temperature);

}  // namespace lowbit
