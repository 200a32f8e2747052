// The debiased Sinkhorn divergence of two sets of unit vectors, as geomloss computes it (FRM-PTQ's
// structure loss; frm sheet, "Sinkhorn procedure exactly"): cost |x - y|^2 / 2, uniform weights,
// annealed epsilon, gradient through the first argument of the last step.
#pragma once

#include <vector>

#include "calib/tensor.h"

namespace lowbit {

// The products of all pairs of unit rows; X the student's, Y the teacher's.
struct Similarities {
  Tensor xx, yy, xy;  // [tokens, tokens]
};

// Epsilon from the squared diameter of the bounding box down to blur^2: diameter^2 twice, then a
// quarter each step.
std::vector<double> epsilon_schedule(double diameter, double blur);

// The diameter that the schedule starts from: the norm of the extents of all rows of x and y.
double bounding_diameter(const Tensor& x, const Tensor& y);

struct SinkhornResult {
  double value = 0;
  // d value / d x = (plan_xx x - plan_xy y) / tokens: rows of softmaxes, scaled by gradient_scale.
  Tensor plan_xx, plan_xy;  // [tokens, tokens]; undefined when no gradient was asked for
};

enum class WithGradient { no, yes };
SinkhornResult sinkhorn_divergence(const Similarities& m, const std::vector<double>& epsilons,
                                   WithGradient gradient);

}  // namespace lowbit
