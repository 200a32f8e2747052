// Cyclic coordinate descent on codes (quantease sheet; Behdin et al., QuantEase, arXiv 2309.01885):
// column after column takes the grid's value that is best with all others as they are, pass after
// pass. No inverse is needed. From a solver's codes it never ends worse than it began.
//
// What is lowered, for each row of codes v, with w the row of the weight:
//   (w - v) (H + damping mean(diag H)) (w - v)^T + 2 asymmetry (w - v) (w D)^T
// which for damping 0 is |v X - w X|^2, and for asymmetry 1 |v X - w X'|^2 but for a constant, X'
// being the float stream's inputs (GPTAQ's target).
#pragma once

#include "methods/ordered_layer.h"

namespace lowbit {

struct DescentOptions {
  double damping = 0;    // the paper has none; a little of it favours text not seen
  double asymmetry = 0;  // 0..1; needs the drift where it is above 0
  std::int64_t passes = 30;
  bool relaxed_passes = true;  // passes 1, 4, ... 25 (from 0) but the last leave values unrounded,
                               // so that the next ones may end elsewhere
  std::int64_t run_columns = 128;  // visited between two corrections of all the rest: speed alone
};

// Weights [out, in] whose nearest codes under the parameters are the best that any pass ended with,
// row by row: each is the value that was best for its column when it was last visited, which a
// learn pass can go on from; beyond the ends of the grid it may lie far. `start`, [out, in], are
// weights whose nearest codes are the first; undefined: the layer's weight, not rounded, as in the
// paper. Columns of `start` and of the result are in the layer's order; ranges stay as they are.
Tensor coordinate_descent(const OrderedLayer& layer, const GroupParameters& parameters,
                          const WeightScheme& scheme, const DescentOptions& options,
                          const Tensor& start = {});

}  // namespace lowbit
