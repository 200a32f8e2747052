#include "kernels/kronecker.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/half_float.h"
#include "base/threads.h"
#include "kernels/hadamard.h"
#include "kernels/panel_product.h"

namespace lowbit {
namespace {

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

std::vector<float> hadamard_factor_values(std::int64_t size) {
  std::vector<float> values(index(size * size));
  for (std::int64_t i = 0; i < size; ++i) values[index(i * (size + 1))] = 1;
  hadamard_rows(values, hadamard_size(size));
  std::transform(values.begin(), values.end(), values.begin(), round_to_f16);
  return values;
}

}  // namespace

void kronecker_rows(std::span<float> rows, const KroneckerFactors& factors) {
  const std::int64_t left = factors.size.left, right = factors.size.right;
  const std::int64_t width = left * right;
  CHECK(width > 0 && std::ssize(rows) % width == 0);
  const std::int64_t columns = panel_columns(right);
  std::vector<float> wide(index(right * columns));  // R, its rows filled up with zeros
  for (std::int64_t i = 0; i < right; ++i) {
    std::copy_n(factors.right.data() + i * right, right, wide.data() + i * columns);
  }
  const auto piece = [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> inner(index(left * columns)), outer(inner.size());
    for (float* x = rows.data() + begin * width; x < rows.data() + end * width; x += width) {
      panel_product({.rows = left,
                     .inner = right,
                     .columns = columns,
                     .a = x,
                     .a_row = right,
                     .b = wide.data(),
                     .b_row = columns,
                     .c = inner.data(),
                     .c_row = columns});
      panel_product({.rows = left,
                     .inner = left,
                     .columns = columns,
                     .a = factors.left.data(),
                     .a_row = 1,
                     .a_inner = left,
                     .b = inner.data(),
                     .b_row = columns,
                     .c = outer.data(),
                     .c_row = columns});
      for (std::int64_t i = 0; i < left; ++i) {
        std::copy_n(outer.data() + i * columns, right, x + i * right);
      }
    }
  };
  parallel_for(std::ssize(rows) / width, grain_of(width * (left + right)), piece);
}

void kronecker_rows_reference(std::span<float> rows, const KroneckerFactors& factors) {
  const auto [left, right] = factors.size;
  std::vector<float> x(index(left * right));
  for (float* row = rows.data(); row < rows.data() + rows.size(); row += x.size()) {
    std::copy_n(row, x.size(), x.begin());
    for (std::int64_t at = 0; at < left * right; ++at) {
      double sum = 0;
      for (std::int64_t from = 0; from < left * right; ++from) {
        sum += double{x[index(from)]} * factors.left[index(from / right * left + at / right)] *
               factors.right[index(from % right * right + at % right)];
      }
      row[at] = static_cast<float>(sum);
    }
  }
}

KroneckerSize kronecker_size(std::int64_t in) {
  KroneckerSize best;
  bool best_known = false;
  for (std::int64_t divisor = 2; divisor * divisor <= in; ++divisor) {
    if (in % divisor != 0) continue;
    const bool known = hadamard_factor(divisor) != 0 && hadamard_factor(in / divisor) != 0;
    if (best_known && !known) continue;
    best = {divisor, in / divisor};
    best_known = known;
  }
  const auto twos = [](std::int64_t n) { return std::countr_zero(static_cast<std::uint64_t>(n)); };
  if (best.any() && twos(best.left) > twos(best.right)) std::swap(best.left, best.right);
  return best;
}

std::shared_ptr<const KroneckerFactors> hadamard_factors(KroneckerSize size) {
  return std::make_shared<KroneckerFactors>(
      KroneckerFactors{.size = size,
                       .left = hadamard_factor_values(size.left),
                       .right = hadamard_factor_values(size.right)});
}

}  // namespace lowbit
