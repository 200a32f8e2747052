// range: the first scales and zero points of a weight's groups.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// The asymmetric grid of the group's range widened to contain 0: s = (max - min) / (2^b - 1),
// z = round(-min / s); symmetric: s = max|w| / (2^(b-1) - 1/2), z = 2^(b-1). A group of zeros gets
// the smallest scale. (rtn-and-granularity sheet, grids 1 and 2.)
GroupParameters min_max_range(const Tensor& weight, const WeightScheme& scheme);

// The best of 80 shrinkings p = 1, 0.99, ... 0.21 of both ends by sum |w' - w|^2.4 a group (GPTQ's
// search).
GroupParameters mse_search_range(const Tensor& weight, const WeightScheme& scheme);

// The range and zero point of least sum importance_j (w'_j - w_j)^2, importance being the mean
// square of the linear's input j on the first calibration windows (kernels/range_search.h). Scales
// are rounded to bfloat16 before they are judged by training.
GroupParameters importance_search_range(const Tensor& weight, const WeightScheme& scheme,
                                        const Tensor& importance);  // [in]

// The same where every input matters alike: least squared error. What a table gets, since no stream
// shows the inputs of an embedding.
GroupParameters squared_error_range(const Tensor& weight, const WeightScheme& scheme);

// The range of `method`; importance [in] is looked at by importance_search alone.
GroupParameters choose_range(RangeMethod method, const Tensor& weight, const WeightScheme& scheme,
                             const Tensor& importance);

BlockPass range_pass(RangeMethod method);

}  // namespace lowbit
