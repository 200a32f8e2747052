#include "kernels/panel_product.h"

#include <algorithm>

#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr int kRows = 6;  // at once, by as many vectors as leave registers for b and a

// kCount rows by kVectors vectors of c, kept in registers while k runs over the inner width.
template <typename V, int kCount, int kVectors>
LOWBIT_INLINE void block(const PanelProduct& p, std::int64_t row, std::int64_t column) {
  constexpr std::int64_t kLanes = sizeof(V) / sizeof(float);
  V sums[kCount][kVectors] = {};
  const float* a = p.a + row * p.a_row;
  const float* b = p.b + column;
  for (std::int64_t k = 0; k < p.inner; ++k, a += p.a_inner, b += p.b_row) {
    V line[kVectors];
    for (int v = 0; v < kVectors; ++v) std::memcpy(&line[v], b + v * kLanes, sizeof(V));
    for (int r = 0; r < kCount; ++r) {
      const float factor = a[r * p.a_row];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += line[v] * factor;
    }
  }
  for (int r = 0; r < kCount; ++r) {
    float* target = p.c + (row + r) * p.c_row + column;
    for (int v = 0; v < kVectors; ++v) {
      V old{};
      if (p.add) std::memcpy(&old, target + v * kLanes, sizeof(V));
      old += sums[r][v];
      std::memcpy(target + v * kLanes, &old, sizeof(V));
    }
  }
}

template <typename V, int kVectors>
LOWBIT_INLINE void all_rows(const PanelProduct& p, std::int64_t column) {
  std::int64_t row = 0;
  for (; row + kRows <= p.rows; row += kRows) block<V, kRows, kVectors>(p, row, column);
  for (; row < p.rows; ++row) block<V, 1, kVectors>(p, row, column);
}

// Sixteen columns or more at a time.
template <typename V, int kVectors>
LOWBIT_INLINE void all_columns(const PanelProduct& p) {
  constexpr std::int64_t kLanes = sizeof(V) / sizeof(float);
  std::int64_t column = 0;
  for (; column + kVectors * kLanes <= p.columns; column += kVectors * kLanes) {
    all_rows<V, kVectors>(p, column);
  }
  for (; column < p.columns; column += 16) all_rows<V, 16 / kLanes>(p, column);
}

#if defined(LOWBIT_TARGETS)
// 24 sums, 4 of b and one of a in 32 registers.
__attribute__((target("arch=x86-64-v4"))) void product_v4(const PanelProduct& p) {
  all_columns<Floats16, 4>(p);
}
// 12 sums, 2 and one in 16.
__attribute__((target("arch=x86-64-v3"))) void product_v3(const PanelProduct& p) {
  all_columns<Floats8, 2>(p);
}
#endif
void product_anywhere(const PanelProduct& p) { all_columns<Floats4, 4>(p); }

using Product = void (*)(const PanelProduct& p);

Product fastest_product() {
#if defined(LOWBIT_TARGETS)
  if (__builtin_cpu_supports("x86-64-v4")) return product_v4;
  if (__builtin_cpu_supports("x86-64-v3")) return product_v3;
#endif
  return product_anywhere;
}

}  // namespace

void panel_product(const PanelProduct& p) {
  static const Product product = fastest_product();
  product(p);
}

}  // namespace lowbit
