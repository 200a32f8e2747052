// range: the first scales and zero points of a weight's groups.
#pragma once

#include "calib/pipeline.h"

namespace lowbit {

// The asymmetric grid of the group's range widened to contain 0: s = (max - min) / (2^b - 1),
// z = round(-min / s); symmetric: s = max|w| / (2^(b-1) - 1/2), z = 2^(b-1). A group of zeros gets
// the smallest scale. (rtn-and-granularity sheet, grids 1 and 2.) Differentiable.
GroupParameters min_max_range(const Tensor& weight, const WeightScheme& scheme);

// The best of 80 shrinkings p = 1, 0.99, ... 0.21 of both ends by sum |w' - w|^2.4 a group (GPTQ's
// search).
GroupParameters mse_search_range(const Tensor& weight, const WeightScheme& scheme);

// Both ends are percentiles p and 1 - p of the group (a value between two neighbours in
// proportion), widened to contain 0; of p = 1, 0.99999, 0.9999, 0.999, 0.995, 0.99, 0.98, 0.95 the
// one of least squared error. RepQ-ViT (repquant-dopq-vit sheet, step 1) takes 0.999 to 0.99999 of
// a whole tensor. In a group of 128 values these lie between the outermost value and the next, so
// the list goes on to those that leave about one, three and six values outside at either end. A
// list and no key, because the best differs from group to group; with 1 in it the error is never
// above that of min_max_range. Symmetric: the farther end counts.
GroupParameters percentile_range(const Tensor& weight, const WeightScheme& scheme);

// HQQ (Badri and Shaji, 2023; rtn-and-granularity sheet): the scale s = (max - min) / (2^b - 1)
// stays; the zero point z, a real number, begins at -min / s and moves in at most 20 rounds
//   q = clamp(round(w / s + z), 0, 2^b - 1),  d = w - (q - z) s,
//   e = sign(d) max(0, |d| - |d|^(p - 1) / beta),  z = mean(q - (w - e) / s),  p = 0.7, beta = 10,
// the last of them the first whose mean |d| is no lower. Where all |d| < 0.17, as in language
// models, e is 0: then z takes the mean error to 0. Here each group stops by itself (there: the
// whole matrix at once), the range is widened to contain 0 (there: not), scales have our floor
// (there: 5e-5), and a group is consecutive inputs ("axis 1").
GroupParameters real_zero_hqq(const Tensor& weight, const WeightScheme& scheme);

// The same with z rounded to a code, as the format stores it. That loses what HQQ is for: on
// Gaussian weights at 4 bits in groups of 64 a real z lowers the mean |d| of min_max_range by 6 %,
// the rounded one raises it by 0.1 %. Symmetric: min_max_range, there is no z to choose.
GroupParameters hqq_range(const Tensor& weight, const WeightScheme& scheme);

// The range and zero point of least sum importance_j (w'_j - w_j)^2, importance being the mean
// square of the linear's input j on the first calibration windows (kernels/range_search.h). Scales
// are rounded to bfloat16 before they are judged by training.
GroupParameters importance_search_range(const Tensor& weight, const WeightScheme& scheme,
                                        const Tensor& importance);  // [in]

// The same where every input matters alike: least squared error. What a table gets, since no stream
// shows the inputs of an embedding.
GroupParameters squared_error_range(const Tensor& weight, const WeightScheme& scheme);

// Of a weight in a value format (format/value_grid.h), the scales on the grid that it has for them;
// the zeros mean nothing. By min_max a group's largest magnitude becomes the largest code, or as
// near to it as scales are; of E8M0's powers of two the one that clips nothing or the one below it,
// by the squared error (the rules that are in use are choices between these two, by the magnitude
// alone). By importance_search the best of some neighbouring scales by sum importance_j (w'_j -
// w_j)^2, by mse_search the same with every input alike; of nvfp4 up to 1.5 times as large, which
// makes the magnitude code 4 in the place of 6 (Four Over Six, arXiv 2512.02010).
GroupParameters value_range(RangeMethod method, const Tensor& weight, const WeightScheme& scheme,
                            const Tensor& importance, float global_scale);

// The range of `method`; importance [in] is looked at by importance_search alone. `global_scale`:
// of a value format; 0: that of this weight alone.
GroupParameters choose_range(RangeMethod method, const Tensor& weight, const WeightScheme& scheme,
                             const Tensor& importance, float global_scale = 0);

BlockPass range_pass(RangeMethod method);

}  // namespace lowbit
