#include "kernels/range_search.h"

#include <algorithm>
#include <cmath>

#include "format/value_grid.h"
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

float error_of(const ValueGrid& values, float scale, std::int64_t size, const float* w,
               const float* importance) {
  float sum = 0.0F;
  for (std::int64_t i = 0; i < size; ++i) {
    const float off = values.nearest(w[i] / scale) * scale - w[i];
    sum += importance[i] * off * off;
  }
  return sum;
}

// The same search for a value format, which has no zero point; steps of a percent may be none on
// the grid of its scales.
void search_values(const RangeSearch& how, int steps, std::int64_t begin, std::int64_t end,
                   const float* weight, const float* importance, float* scale) {
  const std::int64_t size = how.groups.group_size;
  const ValueGrid& values = *how.groups.values;
  for (std::int64_t group = begin; group < end; ++group) {
    const float* w = weight + group * size;
    const float* h = importance + group % how.groups_per_row * size;
    const float full = scale[group];
    float last = how.scales.nearest(full);
    float lowest = error_of(values, last, size, w, h);
    scale[group] = last;
    for (int step = 0; step <= steps; ++step) {
      const float share = how.largest_share - how.step * static_cast<float>(step);
      const float candidate = how.scales.nearest(full * share);
      if (candidate == last) continue;
      last = candidate;
      const float error = error_of(values, candidate, size, w, h);
      if (!(error < lowest)) continue;
      lowest = error;
      scale[group] = candidate;
    }
  }
}

}  // namespace

LOWBIT_CLONES
void search_range(const RangeSearch& how, std::int64_t begin, std::int64_t end, const float* weight,
                  const float* importance, float* scale, float* zero) {
  const std::int64_t size = how.groups.group_size;
  const float top = static_cast<float>((1 << how.groups.bits) - 1);
  const int steps =
      static_cast<int>(std::lround((how.largest_share - how.smallest_share) / how.step));
  if (how.groups.values != nullptr) {
    return search_values(how, steps, begin, end, weight, importance, scale);
  }
  for (std::int64_t group = begin; group < end; ++group) {
    const float* w = weight + group * size;
    const float* h = importance + group % how.groups_per_row * size;
    const Candidate full{scale[group], clamp_code(zero[group], top)};
    Candidate best = full;
    float lowest = error_of(full, top, size, w, h);
    for (int step = 0; step <= steps; ++step) {
      for (int offset = -how.zero_reach; offset <= how.zero_reach; ++offset) {
        const Candidate c{full.scale * (how.largest_share - how.step * static_cast<float>(step)),
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
