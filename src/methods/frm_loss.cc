#include "methods/frm_loss.h"

namespace lowbit {
namespace {

struct UnitRows {
  Tensor unit;  // [tokens, width]
  Tensor norm;  // [tokens, 1]
};

UnitRows unit_rows(const Tensor& rows) {
  const Tensor norm = rows.square().sum(1, true).sqrt().clamp_min(1e-12);
  return {.unit = rows / norm, .norm = norm};
}

struct TokenRelation {
  double value = 0;
  // d value / d G = from_g * G + from_h * H + constant, elementwise.
  double from_g = 0, from_h = 0, constant = 0;
};

// 1 - cos(G, H) over all entries, each centred. As half the squared distance of the two directions:
// the difference of nearly equal cosines would lose the digits that matter.
TokenRelation token_relation(const Tensor& g, const Tensor& h) {
  const double mean_g = g.mean().item<double>();
  const double mean_h = h.mean().item<double>();
  Tensor centred_g = g - mean_g;
  Tensor centred_h = h - mean_h;
  const double norm_g = std::sqrt(centred_g.square().sum().item<double>());
  const double norm_h = std::sqrt(centred_h.square().sum().item<double>());
  TokenRelation relation;
  if (norm_g < 1e-12 || norm_h < 1e-12) return relation;  // all pairs alike: nothing to relate
  centred_g.div_(norm_g).sub_(centred_h.div_(norm_h));
  relation.value = 0.5 * centred_g.square().sum().item<double>();
  const double cosine = 1.0 - relation.value;
  relation.from_h = -1.0 / (norm_g * norm_h);
  relation.from_g = cosine / (norm_g * norm_g);
  relation.constant = -relation.from_h * mean_h - relation.from_g * mean_g;
  return relation;
}

// The two relation terms on unit rows; adds to `terms` and returns d / d unit x, or an undefined
// tensor.
Tensor relation_terms(const Tensor& x, const Tensor& y, const LearnSpec& spec,
                      WithGradient gradient, LossTerms& terms) {
  const Similarities m{.xx = x.matmul(x.t()), .yy = y.matmul(y.t()), .xy = x.matmul(y.t())};
  Tensor by_x;  // coefficient of x
  Tensor result;
  if (spec.sinkhorn > 0) {
    const auto epsilons = epsilon_schedule(bounding_diameter(x, y), kSinkhornBlur);
    const SinkhornResult sinkhorn = sinkhorn_divergence(m, epsilons, gradient);
    terms.sinkhorn = sinkhorn.value;
    if (gradient == WithGradient::yes) {
      by_x = sinkhorn.plan_xx.mul(spec.sinkhorn);
      result = sinkhorn.plan_xy.matmul(y).mul_(-spec.sinkhorn);
    }
  }
  if (spec.token_relation > 0) {
    const TokenRelation relation = token_relation(m.xx, m.yy);
    terms.token_relation = relation.value;
    if (gradient == WithGradient::yes) {
      const double twice = 2.0 * spec.token_relation;
      if (!by_x.defined()) by_x = at::zeros_like(m.xx);
      by_x.add_(m.xx, twice * relation.from_g)
          .add_(m.yy, twice * relation.from_h)
          .add_(twice * relation.constant);
    }
  }
  if (!by_x.defined()) return {};
  const Tensor moved = by_x.matmul(x);
  return result.defined() ? moved.add_(result) : moved;
}

}  // namespace

FrmLoss frm_loss(const Tensor& student, const Tensor& teacher, const LearnSpec& spec,
                 WithGradient gradient, const Tensor& which) {
  const at::NoGradGuard no_gradient;
  FrmLoss loss;
  LossTerms& terms = loss.terms;
  const Tensor difference = student - teacher;
  const double raw = difference.square().mean().item<double>();
  const double power = teacher.square().mean().item<double>();
  terms.relative_mse = power > 0 ? raw / power : 0.0;
  terms.mse = spec.normalized_mse ? terms.relative_mse : raw;
  if (gradient == WithGradient::yes) {
    const double per_element = 2.0 * spec.mse / static_cast<double>(student.numel());
    const bool normalize = spec.normalized_mse && power > 0;
    loss.gradient = difference.mul(normalize ? per_element / power : per_element);
  }
  if (spec.token_relation > 0 || spec.sinkhorn > 0) {
    const UnitRows x = unit_rows(which.defined() ? student.index_select(0, which) : student);
    const UnitRows y = unit_rows(which.defined() ? teacher.index_select(0, which) : teacher);
    const Tensor by_unit = relation_terms(x.unit, y.unit, spec, gradient, terms);
    if (by_unit.defined()) {
      // through the normalisation: (g - <g, x> x) / |s|
      const Tensor along = (by_unit * x.unit).sum(1, true);
      const Tensor by_row = (by_unit - along * x.unit) / x.norm;
      if (which.defined()) {
        loss.gradient.index_add_(0, which, by_row);
      } else {
        loss.gradient.add_(by_row);
      }
    }
  }
  terms.total = spec.mse * terms.mse + spec.token_relation * terms.token_relation +
                spec.sinkhorn * terms.sinkhorn;
  return loss;
}

}  // namespace lowbit
