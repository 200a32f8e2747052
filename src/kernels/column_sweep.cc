#include "kernels/column_sweep.h"

#include <algorithm>
#include <cmath>

#include "format/value_grid.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

LOWBIT_INLINE float nearest(const ValueGrid* values, float value, float scale, float zero,
                            float top) {
  if (values != nullptr) return values->nearest(value / scale) * scale;
  const float z = std::clamp(std::nearbyintf(zero), 0.0F, top);
  const float code = std::clamp(std::nearbyintf(value / scale) + z, 0.0F, top);
  return (code - z) * scale;
}

}  // namespace

LOWBIT_CLONES
void sweep_columns(const ColumnSweep& how, std::int64_t begin, std::int64_t end, float* weight,
                   const float* scale, const float* zero, float* errors) {
  const ColumnRun& run = how.run;
  const float top = static_cast<float>((1 << run.bits) - 1);
  for (std::int64_t row = begin; row < end; ++row) {
    float* w = weight + row * run.stride;
    float* e = errors + row * run.columns;
    for (std::int64_t i = 0; i < run.columns; ++i) {
      float drifted = 0;
      if (how.first_order > 0) {
        const float origin = how.origin[row * run.stride + i];
        w[i] -= how.first_order * (w[i] - origin);
        drifted = how.first_order * (w[i] - origin);
      }
      const std::int64_t group = row * run.groups_per_row + run.group_of[i];
      const float* u = how.upper + i * run.stride;
      const float error =
          (w[i] - nearest(run.values, w[i], scale[group], zero[group], top) - drifted) / u[i];
      e[i] = error;
      for (std::int64_t j = i + 1; j < run.columns; ++j) w[j] -= error * u[j];
      if (how.pull == nullptr) continue;
      const float* p = how.pull + i * run.stride;
      for (std::int64_t j = i + 1; j < run.columns; ++j) w[j] += w[i] * p[j];
    }
  }
}

LOWBIT_CLONES
void descend_columns(const ColumnDescent& how, std::int64_t begin, std::int64_t end, float* best,
                     float* value, const float* scale, const float* zero, float* moved) {
  const ColumnRun& run = how.run;
  const float top = static_cast<float>((1 << run.bits) - 1);
  for (std::int64_t row = begin; row < end; ++row) {
    float* u = best + row * run.stride;
    float* v = value + row * run.stride;
    for (std::int64_t i = 0; i < run.columns; ++i) {
      const std::int64_t group = row * run.groups_per_row + run.group_of[i];
      const float taken = how.visit == Visit::relaxed
                              ? u[i]
                              : nearest(run.values, u[i], scale[group], zero[group], top);
      const float move = taken - v[i];
      v[i] = taken;
      moved[row * run.columns + i] = move;
      if (move == 0) continue;  // most columns of a late pass
      const float* ratio = how.ratio + i * run.stride;
      for (std::int64_t j = i + 1; j < run.columns; ++j) u[j] -= move * ratio[j];
    }
  }
}

}  // namespace lowbit
