#include "kernels/softmin.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kLanes = 8;

// exponent_j = h_j + (m_j - 1) / epsilon
LOWBIT_INLINE Floats8 exponents(const float* m, const float* h, float inverse) {
  return load<Floats8>(h) + (load<Floats8>(m) - 1.0F) * inverse;
}

LOWBIT_INLINE float scalar_exponent(float m, float h, float inverse) {
  return h + (m - 1.0F) * inverse;
}

LOWBIT_INLINE float highest_exponent(const float* row, const float* h, std::int64_t size,
                                     float inverse) {
  const std::int64_t whole = size - size % kLanes;
  Floats8 highest = Floats8{} - INFINITY;
  for (std::int64_t j = 0; j < whole; j += kLanes) {
    highest = max_of(highest, exponents(row + j, h + j, inverse));
  }
  float top = reduce_max(highest);
  for (std::int64_t j = whole; j < size; ++j) {
    top = std::max(top, scalar_exponent(row[j], h[j], inverse));
  }
  return top;
}

// Eight columns of a row from column j on; fewer at the edge.
LOWBIT_INLINE Floats8 columns_of(SimilarityView m, std::int64_t i, std::int64_t j,
                                 std::int64_t width) {
  const float* from = m.data + i * m.size + j;
  return width == kLanes ? load<Floats8>(from) : load_partial<Floats8>(from, width);
}

}  // namespace

LOWBIT_CLONES
void softmin_rows(SimilarityView m, std::int64_t begin, std::int64_t end, const float* h,
                  float epsilon, float* out) {
  const float inverse = 1.0F / epsilon;
  const std::int64_t whole = m.size - m.size % kLanes;
  for (std::int64_t i = begin; i < end; ++i) {
    const float* row = m.data + i * m.size;
    const float top = highest_exponent(row, h, m.size, inverse);
    Floats8 sums = Floats8{};
    for (std::int64_t j = 0; j < whole; j += kLanes) {
      sums += exp_of(exponents(row + j, h + j, inverse) - top);
    }
    float sum = reduce_sum(sums);
    for (std::int64_t j = whole; j < m.size; ++j) {
      sum += std::exp(scalar_exponent(row[j], h[j], inverse) - top);
    }
    out[i] = -epsilon * (top + std::log(sum));
  }
}

// A panel of columns at a time, each row of it read in whole cache lines. A running maximum would
// cost a second exponential a step; two passes read the panel twice, mostly from cache.
LOWBIT_CLONES
void softmin_columns(SimilarityView m, std::int64_t begin, std::int64_t end, const float* h,
                     float epsilon, float* out) {
  constexpr std::int64_t kVectors =
      8;  // of a panel: fewer and each row costs a page lookup for little
  const float inverse = 1.0F / epsilon;
  for (std::int64_t j = begin; j < end; j += kVectors * kLanes) {
    const std::int64_t vectors = std::min(kVectors, (end - j + kLanes - 1) / kLanes);
    Floats8 top[kVectors];
    for (Floats8& highest : top) highest = Floats8{} - INFINITY;
    Floats8 sums[kVectors] = {};
    for (std::int64_t i = 0; i < m.size; ++i) {
      for (std::int64_t v = 0; v < vectors; ++v) {
        const Floats8 x = columns_of(m, i, j + v * kLanes, std::min(kLanes, end - j - v * kLanes));
        top[v] = max_of(top[v], (x - 1.0F) * inverse + h[i]);
      }
    }
    for (std::int64_t i = 0; i < m.size; ++i) {
      for (std::int64_t v = 0; v < vectors; ++v) {
        const Floats8 x = columns_of(m, i, j + v * kLanes, std::min(kLanes, end - j - v * kLanes));
        sums[v] += exp_of((x - 1.0F) * inverse + h[i] - top[v]);
      }
    }
    for (std::int64_t column = j; column < std::min(end, j + kVectors * kLanes); ++column) {
      const std::int64_t v = (column - j) / kLanes;
      const std::int64_t lane = (column - j) % kLanes;
      out[column] = -epsilon * (top[v][lane] + std::log(sums[v][lane]));
    }
  }
}

LOWBIT_CLONES
void softmax_rows(SimilarityView m, std::int64_t begin, std::int64_t end, const float* h,
                  float epsilon, float scale, float* p) {
  const float inverse = 1.0F / epsilon;
  const std::int64_t whole = m.size - m.size % kLanes;
  for (std::int64_t i = begin; i < end; ++i) {
    const float* row = m.data + i * m.size;
    float* target = p + i * m.size;
    const float top = highest_exponent(row, h, m.size, inverse);
    Floats8 sums = Floats8{};
    for (std::int64_t j = 0; j < whole; j += kLanes) {
      const Floats8 e = exp_of(exponents(row + j, h + j, inverse) - top);
      store(target + j, e);
      sums += e;
    }
    float sum = reduce_sum(sums);
    for (std::int64_t j = whole; j < m.size; ++j) {
      target[j] = std::exp(scalar_exponent(row[j], h[j], inverse) - top);
      sum += target[j];
    }
    const float factor = scale / sum;
    for (std::int64_t j = 0; j < m.size; ++j) target[j] *= factor;
  }
}

}  // namespace lowbit
