#include "kernels/panel_product.h"

#include <algorithm>

#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kLanes = 16;

// kRows rows by kVectors * 16 columns of c, kept in registers while k runs over the inner width.
template <int kRows, int kVectors>
LOWBIT_INLINE void block(const PanelProduct& p, std::int64_t row, std::int64_t column) {
  Floats16 sums[kRows][kVectors] = {};
  const float* a = p.a + row * p.a_row;
  const float* b = p.b + column;
  for (std::int64_t k = 0; k < p.inner; ++k, a += p.a_inner, b += p.b_row) {
    Floats16 line[kVectors];
    for (int v = 0; v < kVectors; ++v) line[v] = load16(b + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const float factor = a[r * p.a_row];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += line[v] * factor;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    float* target = p.c + (row + r) * p.c_row + column;
    for (int v = 0; v < kVectors; ++v) {
      const Floats16 old = p.add ? load16(target + v * kLanes) : Floats16{};
      store16(target + v * kLanes, old + sums[r][v]);
    }
  }
}

template <int kVectors>
LOWBIT_INLINE void all_rows(const PanelProduct& p, std::int64_t column) {
  constexpr int kRows = 6;  // 6 x 4 sums, 4 of b and one of a: 29 of 32 registers
  std::int64_t row = 0;
  for (; row + kRows <= p.rows; row += kRows) block<kRows, kVectors>(p, row, column);
  for (; row < p.rows; ++row) block<1, kVectors>(p, row, column);
}

}  // namespace

LOWBIT_CLONES
void panel_product(const PanelProduct& p) {
  constexpr int kVectors = 4;
  std::int64_t column = 0;
  for (; column + kVectors * kLanes <= p.columns; column += kVectors * kLanes) {
    all_rows<kVectors>(p, column);
  }
  for (; column < p.columns; column += kLanes) all_rows<1>(p, column);
}

}  // namespace lowbit
