// Scales for given codes in closed form (decoupleq sheet, step 3c; Guo et al., arXiv 2404.12759,
// without its real offsets: zero points stay codes). With a row's codes less their zero points
// fixed, c_g those of group g and 0 elsewhere, what its output loses is a quadratic of its scales
// s, least where
//   sum over h of (c_g H c_h^T) s_h = (w H + asymmetry w D) c_g^T   for every group g,
// H with its damping; the loss is that of coordinate_descent.h.
#pragma once

#include "methods/ordered_layer.h"

namespace lowbit {

struct RefitOptions {
  double damping = 0;    // of the mean of H's diagonal
  double asymmetry = 0;  // 0..1; needs the drift where it is above 0
};

// New scales [out, groups] for the codes nearest to `solved` [out, in]. A row keeps those it has
// where the new ones lose no less, or where one of them is not within a factor of 10 of its own.
// The layer is in the order in which it is stored.
Tensor refit_scales(const OrderedLayer& layer, const Tensor& solved,
                    const GroupParameters& parameters, const WeightScheme& scheme,
                    const RefitOptions& options);

}  // namespace lowbit
