#include "kernels/gram_relation.h"

#include "kernels/vector_math.h"

namespace lowbit {

LOWBIT_CLONES
GramSums gram_sums(const float* g, const float* h, std::int64_t size) {
  double sum_g = 0, sum_h = 0, sum_gg = 0, sum_hh = 0, sum_gh = 0;
  for (std::int64_t j = 0; j < size; ++j) {
    const double x = g[j];
    const double y = h[j];
    sum_g += x;
    sum_h += y;
    sum_gg += x * x;
    sum_hh += y * y;
    sum_gh += x * y;
  }
  return {sum_g, sum_h, sum_gg, sum_hh, sum_gh};
}

LOWBIT_CLONES
void combine_grams(const GramCombination& by, const float* g, const float* h, std::int64_t size,
                   float* to) {
  for (std::int64_t j = 0; j < size; ++j) {
    to[j] += by.from_g * g[j] + by.from_h * h[j] + by.constant;
  }
}

}  // namespace lowbit
