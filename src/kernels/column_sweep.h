// Rounding the columns of a weight one after the other, each column's error made up for by the
// columns after it: the inner loops of GPTQ with its relatives and of coordinate descent.
#pragma once

#include <cstdint>

namespace lowbit {

class ValueGrid;

// A run of `columns` columns of a matrix whose rows are `stride` values apart.
struct ColumnRun {
  int bits = 4;
  const ValueGrid* values = nullptr;  // of a value format; null: integers
  std::int64_t columns = 0;
  std::int64_t stride = 0;
  std::int64_t groups_per_row = 1;
  const std::int64_t* group_of = nullptr;  // [columns]: the group that each belongs to
};

// Matrices [in, in] are given as their run's diagonal block: [columns, stride] from its first value
// on, where the stride is that of ColumnRun.
struct ColumnSweep {
  ColumnRun run;
  const float* upper = nullptr;   // U, where inverse(H) = U^T U
  const float* pull = nullptr;    // GPTAQ's P, strictly upper (gptaq-foem sheet); null: none
  float first_order = 0;          // FOEM's beta; 0: none
  const float* origin = nullptr;  // [rows, stride]: the weights before any column; for FOEM alone
};

// Rows [begin, end), serial. For column i (gptq sheet, step 7; Frantar et al., arXiv 2210.17323):
//   w_i -= beta (w_i - o_i)                          FOEM, arXiv 2507.11017, as GPTQModel has it
//   q = the nearest value of the group's grid (as fake_quant_weight)
//   e = (w_i - q - beta (w_i - o_i)) / U_ii
//   w_j += w_i P_ij - e U_ij for the columns j after it in the run    P: GPTAQ, arXiv 2504.02692
// On return `weight` holds the values that were rounded, before rounding; `errors` the e. From both
// the caller corrects the columns after the run, which makes the result one for runs of any length.
void sweep_columns(const ColumnSweep& how, std::int64_t begin, std::int64_t end,
                   float* weight,                          // [rows, stride]
                   const float* scale, const float* zero,  // [rows, groups_per_row]
                   float* errors);                         // [rows, columns]

enum class Visit { rounded, relaxed };

struct ColumnDescent {
  ColumnRun run;
  const float* ratio = nullptr;  // H_ij / H_jj
  Visit visit = Visit::rounded;  // relaxed: values are left unrounded
};

// Rows [begin, end), serial: one pass of coordinate descent on the columns (quantease sheet, steps
// 3 to 6; Behdin et al., arXiv 2309.01885). `best` holds u, each column's best value with all
// others as they are. Column i takes the grid's value nearest to u_i, and what it moved by changes
// the u_j after it in the run. On return `moved` says by how much, for the columns after the run.
void descend_columns(const ColumnDescent& how, std::int64_t begin, std::int64_t end, float* best,
                     float* value,                           // [rows, stride]
                     const float* scale, const float* zero,  // [rows, groups_per_row]
                     float* moved);                          // [rows, columns]

}  // namespace lowbit
