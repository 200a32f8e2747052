#include "kernels/hadamard.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <mutex>
#include <vector>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

// H_K as the outer axis wants it: output j is the sum over i of input i times from[j * K + i].
struct Factor {
  std::vector<float> plain, transposed;  // [K, K]
};

const Factor& factor_of(std::int64_t order) {
  static std::mutex guard;
  static std::map<std::int64_t, Factor> known;  // never shrinks: references stay good
  const std::lock_guard lock(guard);
  const auto [at, added] = known.try_emplace(order);
  Factor& factor = at->second;
  if (added) {
    const std::vector<std::int8_t> matrix = hadamard_factor_matrix(order);
    factor.transposed.assign(matrix.begin(), matrix.end());
    factor.plain.resize(matrix.size());
    const auto count = static_cast<std::size_t>(order);
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t j = 0; j < count; ++j) factor.plain[j * count + i] = matrix[i * count + j];
    }
  }
  return factor;
}

LOWBIT_INLINE Floats8 load8(const float* from) {
  Floats8 values;
  std::memcpy(&values, from, sizeof(values));
  return values;
}
LOWBIT_INLINE void store8(float* to, Floats8 values) { std::memcpy(to, &values, sizeof(values)); }

// The first three steps of the Walsh transform, within eight lanes.
LOWBIT_INLINE Floats8 walsh8(Floats8 x) {
  x = __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6) +
      x * Floats8{1, -1, 1, -1, 1, -1, 1, -1};
  x = __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5) +
      x * Floats8{1, 1, -1, -1, 1, 1, -1, -1};
  return __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3) +
         x * Floats8{1, 1, 1, 1, -1, -1, -1, -1};
}

LOWBIT_INLINE void walsh_step(float* x, std::int64_t width, std::int64_t step) {
  for (std::int64_t i = 0; i < width; i += 2 * step) {
    for (std::int64_t k = i; k < i + step; ++k) {
      const float a = x[k], b = x[k + step];
      x[k] = a + b;
      x[k + step] = a - b;
    }
  }
}

// The same two steps at once, `step` a multiple of 8: half the memory traffic.
LOWBIT_INLINE void two_walsh_steps(float* x, std::int64_t width, std::int64_t step) {
  for (std::int64_t i = 0; i < width; i += 4 * step) {
    for (std::int64_t k = i; k < i + step; k += 8) {
      const Floats8 a = load8(x + k), b = load8(x + k + step);
      const Floats8 c = load8(x + k + 2 * step), d = load8(x + k + 3 * step);
      const Floats8 plus = a + b, minus = a - b, far_plus = c + d, far_minus = c - d;
      store8(x + k, plus + far_plus);
      store8(x + k + step, minus + far_minus);
      store8(x + k + 2 * step, plus - far_plus);
      store8(x + k + 3 * step, minus - far_minus);
    }
  }
}

// x [count, width] in place, width a power of two; each result times `factor`.
LOWBIT_CLONES
void walsh(float* x, std::int64_t count, std::int64_t width, float factor) {
  for (float* row = x; row < x + count * width; row += width) {
    std::int64_t step = 1;
    if (width >= 8) {
      for (std::int64_t i = 0; i < width; i += 8) store8(row + i, walsh8(load8(row + i)));
      for (step = 8; step * 2 < width; step *= 4) two_walsh_steps(row, width, step);
    }
    for (; step < width; step *= 2) walsh_step(row, width, step);
    for (std::int64_t i = 0; i < width; ++i) row[i] *= factor;
  }
}

constexpr std::int64_t kPlaces = 16;  // of the inner axis that the outer one is taken at at once

// Four outputs at sixteen places: all sums stay in registers.
LOWBIT_INLINE void outer_tile(const float* x,       // [order, 16]
                              const float* matrix,  // [4, order]
                              std::int64_t order,
                              float* to) {  // [4, 16]
  Floats8 low[4] = {}, high[4] = {};
  for (std::int64_t i = 0; i < order; ++i) {
    const Floats8 first = load8(x + i * kPlaces), second = load8(x + i * kPlaces + 8);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const float sign = matrix[j * order + i];
      low[j] += first * sign;
      high[j] += second * sign;
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    store8(to + j * kPlaces, low[j]);
    store8(to + j * kPlaces + 8, high[j]);
  }
}

// x [order, width] by H_K along the outer axis, in place; every order is a multiple of 4. The
// columns are gathered first: rows a power of two apart fall on the same lines of a cache.
LOWBIT_CLONES
void outer(float* x, const float* matrix, std::int64_t order, std::int64_t width,
           float* columns) {  // [order, 16]
  const std::int64_t places = std::min(width, kPlaces);
  const std::size_t bytes = static_cast<std::size_t>(places) * sizeof(float);
  for (std::int64_t at = 0; at < width; at += places) {
    for (std::int64_t i = 0; i < order; ++i) {
      std::memcpy(columns + i * kPlaces, x + i * width + at, bytes);
    }
    for (std::int64_t j = 0; j < order; j += 4) {
      float sums[4 * kPlaces];
      outer_tile(columns, matrix + j * order, order, sums);
      for (std::int64_t k = 0; k < 4; ++k) {
        std::memcpy(x + (j + k) * width + at, sums + k * kPlaces, bytes);
      }
    }
  }
}

void transform(std::span<float> rows, std::int64_t n, bool transposed) {
  CHECK(n > 0 && std::ssize(rows) % n == 0);
  const std::int64_t order = hadamard_factor(n);
  CHECK(order != 0);
  const std::int64_t width = n / order;
  const float factor = 1.0F / std::sqrt(static_cast<float>(n));
  const float* matrix = nullptr;
  if (order > 1) {
    const Factor& both = factor_of(order);
    matrix = transposed ? both.transposed.data() : both.plain.data();
  }
  const auto blocks = [&](std::int64_t begin, std::int64_t end) {
    float* const first = rows.data() + begin * n;
    walsh(first, (end - begin) * order, width, factor);
    if (order == 1) return;
    std::vector<float> columns(static_cast<std::size_t>(order * kPlaces));
    for (float* x = first; x < rows.data() + end * n; x += n) {
      outer(x, matrix, order, width, columns.data());
    }
  };
  const std::int64_t count = std::ssize(rows) / n;
  const std::int64_t additions = n * (order + std::countr_zero(static_cast<std::uint64_t>(width)));
  parallel_for(count, grain_of(additions), blocks);
}

}  // namespace

void hadamard_rows(std::span<float> rows, std::int64_t n) { transform(rows, n, false); }

void hadamard_rows_transposed(std::span<float> rows, std::int64_t n) { transform(rows, n, true); }

}  // namespace lowbit
