// Causal softmax attention over the pages of a cache (kv_page.h): one loop for a prompt, a chunk of
// one, and a single new token. Scores are taken page by page with a running maximum, so the memory
// beside the arguments is one tile, whatever the context; a position's result does not depend on
// how many others are computed with it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kv_page.h"

namespace lowbit {

struct PagedAttention {
  KvPage page;
  std::int64_t group = 1;    // query heads that share the key head
  std::int64_t first = 0;    // position of the first query
  std::int64_t tokens = 0;   // queries, of consecutive positions
  std::int64_t window = 0;   // positions that a token sees, itself included; 0: all before it
  float scale = 1.0F;        // on the scores
  const float* q = nullptr;  // q[token * stride + head * head_dim + i], head in the group
  float* out = nullptr;      // likewise
  std::int64_t stride = 0;   // of q and out
  std::span<const std::byte* const> pages;  // of the positions from 0 on
};

// Tokens that one call should take at once, for a good use of the caches.
std::int64_t attention_tile_tokens(std::int64_t group);

// On the calling thread. `scratch` is kept between calls so that it grows once.
void attend_pages(const PagedAttention& a, std::vector<float>& scratch);

}  // namespace lowbit
