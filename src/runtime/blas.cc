#include "runtime/blas.h"

#include <cblas.h>

#include <algorithm>

#include "base/check.h"
#include "base/threads.h"

namespace lowbit {
namespace {

// Below this many rows a thread's share is too thin to pay for packing the weights again, and the
// outputs are cut instead.
constexpr std::int64_t kRowsPerThread = 64;
constexpr std::int64_t kOutputsPerThread = 64;

blasint as_int(std::int64_t value) {
  CHECK(value >= 0 && value <= INT32_MAX);  // model sizes are limited far below
  return static_cast<blasint>(value);
}

void multiply(float scale, MatrixView a, MatrixView b, CBLAS_TRANSPOSE transpose_b, float keep,
              MutableMatrix y) {
  if (y.rows == 0 || y.columns == 0) return;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, transpose_b, as_int(y.rows), as_int(y.columns),
              as_int(a.columns), scale, a.data, as_int(a.stride), b.data, as_int(b.stride), keep,
              y.data, as_int(y.stride));
}

void linear_piece(MatrixView x, MatrixView w, const float* bias, MutableMatrix y) {
  if (bias != nullptr) {
    for (std::int64_t row = 0; row < y.rows; ++row) {
      std::copy_n(bias, y.columns, y.data + row * y.stride);
    }
  }
  multiply(1.0F, x, w, CblasTrans, bias != nullptr ? 1.0F : 0.0F, y);
}

}  // namespace

SingleThreadedBlas::SingleThreadedBlas() : before_(openblas_get_num_threads()) {
  openblas_set_num_threads(1);
}

SingleThreadedBlas::~SingleThreadedBlas() { openblas_set_num_threads(before_); }

void product_transposed(float scale, MatrixView a, MatrixView b, MutableMatrix y) {
  CHECK(a.columns == b.columns && a.rows == y.rows && b.rows == y.columns);
  multiply(scale, a, b, CblasTrans, 0.0F, y);
}

void product(MatrixView a, MatrixView b, MutableMatrix y) {
  CHECK(a.columns == b.rows && a.rows == y.rows && b.columns == y.columns);
  multiply(1.0F, a, b, CblasNoTrans, 0.0F, y);
}

void linear_product(MatrixView x, MatrixView w, const float* bias, MutableMatrix y) {
  CHECK(x.columns == w.columns && x.rows == y.rows && w.rows == y.columns);
  const SingleThreadedBlas single;
  if (x.rows >= 2 * kRowsPerThread) {
    parallel_for(x.rows, kRowsPerThread, [&](std::int64_t begin, std::int64_t end) {
      linear_piece({x.data + begin * x.stride, end - begin, x.columns, x.stride}, w, bias,
                   {y.data + begin * y.stride, end - begin, y.columns, y.stride});
    });
    return;
  }
  parallel_for(w.rows, kOutputsPerThread, [&](std::int64_t begin, std::int64_t end) {
    linear_piece(x, {w.data + begin * w.stride, end - begin, w.columns, w.stride},
                 bias == nullptr ? nullptr : bias + begin,
                 {y.data + begin, y.rows, end - begin, y.stride});
  });
}

}  // namespace lowbit
