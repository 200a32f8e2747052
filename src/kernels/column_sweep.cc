#include "kernels/column_sweep.h"

#include <algorithm>
#include <cmath>

#include "kernels/vector_math.h"

namespace lowbit {

LOWBIT_CLONES
void sweep_columns(const ColumnSweep& how, std::int64_t begin, std::int64_t end, float* weight,
                   const float* scale, const float* zero, float* errors) {
  const float top = static_cast<float>((1 << how.bits) - 1);
  for (std::int64_t row = begin; row < end; ++row) {
    float* w = weight + row * how.stride;
    float* e = errors + row * how.columns;
    for (std::int64_t i = 0; i < how.columns; ++i) {
      const std::int64_t group = row * how.groups_per_row + how.group_of[i];
      const float s = scale[group];
      const float z = std::clamp(std::nearbyintf(zero[group]), 0.0F, top);
      const float code = std::clamp(std::nearbyintf(w[i] / s) + z, 0.0F, top);
      const float* u = how.upper + i * how.upper_stride;
      const float error = (w[i] - (code - z) * s) / u[i];
      e[i] = error;
      for (std::int64_t j = i + 1; j < how.columns; ++j) w[j] -= error * u[j];
    }
  }
}

}  // namespace lowbit
