// solve: rounding under the second-order error of a linear's output, set of linears by set: each
// sees what the sets before it, rounded, put out. By GPTQ and its relatives (methods/gptq.h) or by
// coordinate descent (methods/coordinate_descent.h), each token with its weight
// (methods/token_weights.h).
//
// With `low_rank`, each linear gets its pair (methods/low_rank.h) before the next set is measured:
// for W - Ŵ, or for the weight that GPTAQ's target means, in rounds: W - L R is solved again from
// the same ranges, and what leaves the least weighted error stays. Such a pass may round to
// nearest too.
//
// What the pass leaves behind are weights and ranges as any pass does: the weights as they were
// just before they were rounded, whose nearest codes are the solver's. A learn pass goes on from
// there.
#pragma once

#include <optional>

#include "calib/pipeline.h"

namespace lowbit {

// Where spec.needs_teacher_inputs(), the task has them. Errors: "quantize/non-finite".
BlockPass solve_pass(const SolveSpec& spec, RangeMethod range,
                     const std::optional<LowRankSpec>& low_rank = {});

}  // namespace lowbit
