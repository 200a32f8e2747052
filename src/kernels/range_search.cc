#include "kernels/range_search.h"

#include <algorithm>
#include <cmath>

#include "kernels/vector_math.h"

namespace lowbit {
namespace {

struct Candidate {
  float scale, zero;
};

LOWBIT_INLINE float clamp_code(float code, float top) {
  code = code < 0.0F ? 0.0F : code;
  return code > top ? top : code;
}

LOWBIT_INLINE float error_of(Candidate c, float top, std::int64_t size, const float* w,
                             const float* importance) {
  float sum = 0.0F;
  for (std::int64_t i = 0; i < size; ++i) {
    const float code = clamp_code(std::nearbyintf(w[i] / c.scale) + c.zero, top);
    const float off = (code - c.zero) * c.scale - w[i];
    sum += importance[i] * off * off;
  }
  return sum;
}

}  // namespace

LOWBIT_CLONES
void search_range(const RangeSearch& how, std::int64_t begin, std::int64_t end, const float* weight,
                  const float* importance, float* scale, float* zero) {
  const std::int64_t size = how.groups.group_size;
  const float top = static_cast<float>((1 << how.groups.bits) - 1);
  const int steps = static_cast<int>(std::lround((1.0F - how.smallest_share) * 100.0F));
  for (std::int64_t group = begin; group < end; ++group) {
    const float* w = weight + group * size;
    const float* h = importance + group % how.groups_per_row * size;
    const Candidate full{scale[group], clamp_code(zero[group], top)};
    Candidate best = full;
    float lowest = error_of(full, top, size, w, h);
    for (int step = 0; step <= steps; ++step) {
      for (int offset = -how.zero_reach; offset <= how.zero_reach; ++offset) {
        const Candidate c{full.scale * (1.0F - 0.01F * static_cast<float>(step)),
                          clamp_code(full.zero + static_cast<float>(offset), top)};
        const float error = error_of(c, top, size, w, h);
        if (!(error < lowest)) continue;
        lowest = error;
        best = c;
      }
    }
    scale[group] = best.scale;
    zero[group] = best.zero;
  }
}

}  // namespace lowbit
