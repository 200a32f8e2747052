// Float matrix products, by the BLAS (OpenBLAS), cut over the program's own threads.
#pragma once

#include <cstdint>

namespace lowbit {

// While one is alive the BLAS runs on the calling thread alone: our loops call it from several
// threads at once, and its own threads would fight with them. Restores what was set before; may be
// nested.
class SingleThreadedBlas {
 public:
  SingleThreadedBlas();
  ~SingleThreadedBlas();
  SingleThreadedBlas(const SingleThreadedBlas&) = delete;
  SingleThreadedBlas& operator=(const SingleThreadedBlas&) = delete;

 private:
  int before_;
};

struct MatrixView {
  const float* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;  // floats from a row to the next
};

struct MutableMatrix {
  float* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;
};

// On the calling thread.
void product_transposed(float scale, MatrixView a,  // [rows, inner]
                        MatrixView b,               // [columns, inner]
                        MutableMatrix y);           // y = scale * a b^T
void product(MatrixView a,                          // [rows, inner]
             MatrixView b,                          // [inner, columns]
             MutableMatrix y);                      // y = a b

// y = x w^T + bias, on all threads. `bias` is null or [out].
void linear_product(MatrixView x,       // [tokens, in]
                    MatrixView w,       // [out, in]
                    const float* bias,  //
                    MutableMatrix y);   // [tokens, out]

}  // namespace lowbit
