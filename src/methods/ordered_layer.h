// One weight and what the calibration text says of its inputs, its columns in the order in which a
// solver takes them. What GPTQ and coordinate descent begin with.
#pragma once

#include "calib/fake_quant.h"
#include "kernels/column_sweep.h"

namespace lowbit {

// Sums over the tokens of the calibration text, each token x [in] with its weight; any positive
// factor that both share changes nothing.
struct InputStatistics {
  Tensor hessian;     // [in, in]: H = sum x x^T
  Tensor drift = {};  // [in, in]: D = sum (x' - x) x^T, x' the float stream's input where x is the
                      // student's (gptaq-foem sheet); undefined: nothing is known of that stream
};

enum class ColumnOrder { largest_input_first, as_stored };

struct OrderedLayer {
  Tensor order;     // [in]: of the columns
  Tensor group_of;  // [in]: each column's group of consecutive stored columns
  Tensor dead;      // [in], bool: never any input
  Tensor weight;    // [out, in], float32
  Tensor hessian;   // [in, in], double; 1 on the diagonal where an input is dead
  Tensor drift;     // [in, in], double, or undefined

  // Columns first .. first + count; the layer has to outlive it.
  ColumnRun run(const WeightScheme& scheme, std::int64_t first, std::int64_t count) const;
};

// On the CPU, all contiguous.
OrderedLayer in_order(const Tensor& weight, const InputStatistics& inputs,
                      const WeightScheme& scheme, ColumnOrder order);
std::int64_t group_size_of(const WeightScheme& scheme, std::int64_t in);

}  // namespace lowbit
