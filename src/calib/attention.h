// Causal softmax attention with gradients, in tiles of queries: memory is one tile of scores, not
// tokens x tokens, and scores that the mask removes are never computed. Tensor operations only, so
// it runs on any device; forward keeps q, k and v, backward computes the scores again.
#pragma once

#include "calib/tensor.h"

namespace lowbit {

struct AttentionShape {
  double scale = 1.0;       // on the scores, 1 / sqrt(head_dim)
  std::int64_t window = 0;  // positions that a token sees, itself included; 0: all before it
};

// q [heads, tokens, head_dim]; k and v [kv_heads, tokens, head_dim], kv_heads divides heads.
// Returns [heads, tokens, head_dim].
Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v, AttentionShape shape);

// How much attention each token gets: the probabilities summed over heads and queries, [tokens].
// No gradient.
Tensor attention_received(const Tensor& q, const Tensor& k, AttentionShape shape);

}  // namespace lowbit
