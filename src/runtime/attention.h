// Causal attention of a batch of sequences over their caches: grouped key heads, an optional
// sliding window, softmax in float32.
#pragma once

#include <cstdint>
#include <span>

#include "model/model_spec.h"
#include "runtime/kv_cache.h"

namespace lowbit {

// One sequence's share of a batch: `tokens` rows, which follow what its cache holds.
struct SequenceRun {
  KvSequence* cache = nullptr;  // with pages reserved for the new positions
  std::int64_t tokens = 0;
};

// Stores the keys and values of all runs as positions from length() on, then attends. The rows of
// the runs follow each other.
void attend(const ModelSpec& model, std::int64_t block, std::span<const SequenceRun> runs,
            std::span<const float> q,  // [tokens, heads * head_dim], after RoPE
            std::span<const float> k,  // [tokens, kv_heads * head_dim], likewise
            std::span<const float> v,  // [tokens, kv_heads * head_dim]
            std::span<float> out);     // [tokens, heads * head_dim]

}  // namespace lowbit
