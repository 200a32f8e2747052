#include "kernels/panel_product.h"

#include <algorithm>
#include <cstring>

#include "kernels/vector_math.h"

namespace lowbit {
namespace {

// Vectors of one register each: GCC moves wider ones by way of memory.
// kRows rows by kVectors vectors of c, kept in registers while k runs over the inner width.
template <typename Vector, int kVectors, int kRows>
LOWBIT_INLINE void block(const PanelProduct& p, std::int64_t row, std::int64_t column) {
  constexpr int kLanes = sizeof(Vector) / sizeof(float);
  Vector sums[kRows][kVectors] = {};
  const float* a = p.a + row * p.a_row;
  const float* b = p.b + column;
  for (std::int64_t k = 0; k < p.inner; ++k, a += p.a_inner, b += p.b_row) {
    Vector line[kVectors];
    for (int v = 0; v < kVectors; ++v) std::memcpy(&line[v], b + v * kLanes, sizeof(Vector));
    for (int r = 0; r < kRows; ++r) {
      const float factor = a[r * p.a_row];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += line[v] * factor;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    float* target = p.c + (row + r) * p.c_row + column;
    for (int v = 0; v < kVectors; ++v) {
      Vector old = {};
      if (p.add) std::memcpy(&old, target + v * kLanes, sizeof(Vector));
      const Vector sum = old + sums[r][v];
      std::memcpy(target + v * kLanes, &sum, sizeof(Vector));
    }
  }
}

template <typename Vector, int kVectors, int kRows>
LOWBIT_INLINE void all_rows(const PanelProduct& p, std::int64_t column) {
  std::int64_t row = 0;
  for (; row + kRows <= p.rows; row += kRows) block<Vector, kVectors, kRows>(p, row, column);
  for (; row + 2 <= p.rows; row += 2) block<Vector, kVectors, 2>(p, row, column);
  for (; row < p.rows; ++row) block<Vector, kVectors, 1>(p, row, column);
}

template <typename Vector, int kVectors, int kRows>
LOWBIT_INLINE void all_columns(const PanelProduct& p) {
  constexpr int kLanes = sizeof(Vector) / sizeof(float);
  constexpr int kNarrow = 16 / kLanes;  // vectors: columns come in sixteens
  std::int64_t column = 0;
  for (; column + kVectors * kLanes <= p.columns; column += kVectors * kLanes) {
    all_rows<Vector, kVectors, kRows>(p, column);
  }
  for (; column < p.columns; column += 16) all_rows<Vector, kNarrow, kRows>(p, column);
}

void product_portable(const PanelProduct& p) { all_columns<Floats4, 4, 2>(p); }

#if defined(__x86_64__)
// 6 x 2 sums, 2 of b and one of a: 15 of 16 registers.
__attribute__((target("avx2,fma"))) void product_avx2(const PanelProduct& p) {
  all_columns<Floats8, 2, 6>(p);
}
// 6 x 4 sums, 4 of b and one of a: 29 of 32 registers.
__attribute__((target("avx512f"))) void product_avx512(const PanelProduct& p) {
  all_columns<Floats16, 4, 6>(p);
}
#endif

struct Choice {
  void (*product)(const PanelProduct& p);
  std::int64_t columns;
};

Choice best_choice() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {product_avx512, 64};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {product_avx2, 16};
#endif
  return {product_portable, 16};
}

const Choice& choice() {
  static const Choice kBest = best_choice();
  return kBest;
}

}  // namespace

void panel_product(const PanelProduct& p) { choice().product(p); }

std::int64_t panel_product_columns() { return choice().columns; }

}  // namespace lowbit
