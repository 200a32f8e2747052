// Causal softmax attention of one key head, forward and backward, in tiles that keep their scores
// in cache. head_dim is a multiple of 16. Serial. The reference is calib's version in tensor
// operations.
#pragma once

#include <cstdint>

namespace lowbit {

struct AttentionView {
  std::int64_t group = 1;  // query heads that share the key head
  std::int64_t tokens = 0;
  std::int64_t head_dim = 0;
  std::int64_t window = 0;   // positions that a token sees, itself included; 0: all before it
  float scale = 1.0F;        // on the scores
  const float* q = nullptr;  // [group, tokens, head_dim]
  const float* k = nullptr;  //        [tokens, head_dim]
  const float* v = nullptr;  //        [tokens, head_dim]
};

struct AttentionResult {
  float* out = nullptr;       // [group, tokens, head_dim], written
  float* log_sums = nullptr;  // [group, tokens]: log of the sum of exp(score); nullptr: not wanted
};
void attention_forward(const AttentionView& a, const AttentionResult& result);

struct AttentionGradients {
  const float* out = nullptr;       // [group, tokens, head_dim], of the forward pass
  const float* log_sums = nullptr;  // [group, tokens], likewise
  const float* upstream = nullptr;  // [group, tokens, head_dim], d loss / d out
  float* q = nullptr;               // [group, tokens, head_dim], written
  float* k = nullptr;               //        [tokens, head_dim], written
  float* v = nullptr;               //        [tokens, head_dim], written
};
void attention_backward(const AttentionView& a, const AttentionGradients& gradients);

}  // namespace lowbit
