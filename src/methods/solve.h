// solve: rounding under the second-order error of a linear's output, set of linears by set: each
// sees what the sets before it, rounded, put out. By GPTQ and its relatives (methods/gptq.h) or by
// coordinate descent (methods/coordinate_descent.h), each token with its weight
// (methods/token_weights.h).
//
// What the pass leaves behind are weights and ranges as any pass does: the weights as they were
// just before they were rounded, whose nearest codes are the solver's. A learn pass goes on from
// there.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// Where spec.needs_teacher_inputs(), the task has them. Errors: "quantize/non-finite".
BlockPass solve_pass(const SolveSpec& spec, RangeMethod range);

}  // namespace lowbit
