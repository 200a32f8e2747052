// Rounding the columns of a weight one after the other, each column's error made up for by the
// columns after it: the inner loop of GPTQ (gptq sheet, step 7; Frantar et al., arXiv 2210.17323).
#pragma once

#include <cstdint>

#include "kernels/fake_quant.h"

namespace lowbit {

// A run of `columns` columns of a matrix whose rows are `stride` values apart.
struct ColumnSweep {
  int bits = 4;
  std::int64_t columns = 0;
  std::int64_t stride = 0;
  std::int64_t groups_per_row = 1;
  const std::int64_t* group_of = nullptr;  // [columns]: the group that each belongs to
  const float* upper = nullptr;   // [columns, upper_stride]: the run's diagonal block of U, where
  std::int64_t upper_stride = 0;  // inverse(H) = U^T U
};

// Rows [begin, end), serial. For column i: q = the nearest value of the group's grid (as
// fake_quant_weight), e = (w_i - q) / U_ii, then w_j -= e U_ij for the columns j after it in the
// run. On return `weight` holds the values that were rounded, before rounding; `errors` the e, from
// which the caller corrects the columns after the run.
void sweep_columns(const ColumnSweep& how, std::int64_t begin, std::int64_t end,
                   float* weight,                          // [rows, stride]
                   const float* scale, const float* zero,  // [rows, groups_per_row]
                   float* errors);                         // [rows, columns]

}  // namespace lowbit
