// Sums over two Gram matrices for FRM-PTQ's token relation (1 - cosine of the centred matrices),
// and its gradient, each in one pass. Serial over the given rows.
#pragma once

#include <cstdint>

namespace lowbit {

struct GramSums {
  double g = 0, h = 0, gg = 0, hh = 0, gh = 0;
};

// Sums of G, H, G*G, H*H and G*H over one row each, in double.
GramSums gram_sums(const float* g, const float* h, std::int64_t size);

// to[j] += from_g * g[j] + from_h * h[j] + constant, over a run of entries, whole rows or not.
struct GramCombination {
  float from_g = 0, from_h = 0, constant = 0;
};
void combine_grams(const GramCombination& by, const float* g, const float* h, std::int64_t size,
                   float* to);

}  // namespace lowbit
