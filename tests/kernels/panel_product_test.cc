#include "kernels/panel_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace lowbit {
namespace {

std::vector<float> some_values(std::int64_t count, int seed) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(seed++ * 37 % 101) / 64.0F - 0.75F;
  return values;
}

TEST(PanelProduct, IsTheSumOfProductsOnAllShapes) {
  for (const std::int64_t rows : {1, 2, 5, 6, 7, 13, 20}) {
    for (const std::int64_t columns : {16, 48, 64, 112}) {
      for (const bool transposed : {false, true}) {
        constexpr std::int64_t kInner = 19;
        const std::vector<float> a = some_values(rows * kInner, 1);
        const std::vector<float> b = some_values(kInner * columns, 2);
        std::vector<float> c(static_cast<std::size_t>(rows * columns), 2.0F);
        const std::int64_t a_row = transposed ? 1 : kInner;
        const std::int64_t a_inner = transposed ? rows : 1;
        panel_product({.rows = rows,
                       .inner = kInner,
                       .columns = columns,
                       .a = a.data(),
                       .a_row = a_row,
                       .a_inner = a_inner,
                       .b = b.data(),
                       .b_row = columns,
                       .c = c.data(),
                       .c_row = columns,
                       .add = transposed});
        for (std::int64_t row = 0; row < rows; ++row) {
          for (std::int64_t column = 0; column < columns; ++column) {
            float expected = transposed ? 2.0F : 0.0F;
            for (std::int64_t k = 0; k < kInner; ++k) {
              expected += a[static_cast<std::size_t>(row * a_row + k * a_inner)] *
                          b[static_cast<std::size_t>(k * columns + column)];
            }
            ASSERT_NEAR(c[static_cast<std::size_t>(row * columns + column)], expected, 1e-4)
                << rows << " x " << columns << " at " << row << ", " << column;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace lowbit
