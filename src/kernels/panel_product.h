// c = a b or c += a b for matrices of attention's shapes: a thin inner or outer width (64, 128)
// against many tokens. A BLAS packs both operands first, which costs as much as the product here;
// this one reads them where they lie. On the calling thread.
#pragma once

#include <cstdint>

namespace lowbit {

constexpr std::int64_t kPanelColumns = 16;
// The least width of b and c that holds so many columns.
constexpr std::int64_t panel_columns(std::int64_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
}

struct PanelProduct {
  std::int64_t rows = 0;     // of a and c
  std::int64_t inner = 0;    // columns of a, rows of b
  std::int64_t columns = 0;  // of b and c; a multiple of kPanelColumns
  const float* a = nullptr;  // a[row * a_row + k * a_inner]: as it lies, or transposed
  std::int64_t a_row = 0;
  std::int64_t a_inner = 1;
  const float* b = nullptr;  // b[k * b_row + column]
  std::int64_t b_row = 0;
  float* c = nullptr;  // c[row * c_row + column]
  std::int64_t c_row = 0;
  bool add = false;  // c += instead of c =
};

void panel_product(const PanelProduct& p);

// Columns that one pass over `a` takes on this processor. A `b` that is made for the product is
// best made of so many columns, side by side.
std::int64_t panel_product_columns();

}  // namespace lowbit
