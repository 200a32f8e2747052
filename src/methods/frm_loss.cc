#include "methods/frm_loss.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include "kernels/gram_relation.h"

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

bool kernels_apply(const Tensor& m) {
  return m.is_cpu() && m.scalar_type() == at::kFloat && m.is_contiguous();
}

// Sums over all entries of two Gram matrices; row by row, so that the result does not depend on
// threads.
GramSums sums_of(const Tensor& g, const Tensor& h) {
  if (!kernels_apply(g)) {
    const Tensor x = g.to(at::kDouble);
    const Tensor y = h.to(at::kDouble);
    return {x.sum().item<double>(), y.sum().item<double>(), (x * x).sum().item<double>(),
            (y * y).sum().item<double>(), (x * y).sum().item<double>()};
  }
  const std::int64_t size = g.size(0);
  std::vector<GramSums> rows(static_cast<std::size_t>(size));
  at::parallel_for(0, size, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      rows[static_cast<std::size_t>(i)] =
          gram_sums(g.data_ptr<float>() + i * size, h.data_ptr<float>() + i * size, size);
    }
  });
  GramSums all;
  for (const GramSums& row : rows) {
    all.g += row.g;
    all.h += row.h;
    all.gg += row.gg;
    all.hh += row.hh;
    all.gh += row.gh;
  }
  return all;
}

struct TokenRelation {
  double value = 0;
  // d value / d G = from_g * G + from_h * H + constant, elementwise.
  double from_g = 0, from_h = 0, constant = 0;
};

// 1 - cos(G, H) over all entries, each centred. Sums in double: a relation of 1e-6 keeps its
// digits.
TokenRelation token_relation(const Tensor& g, const Tensor& h) {
  const GramSums sums = sums_of(g, h);
  const double count = static_cast<double>(g.numel());
  const double mean_g = sums.g / count;
  const double mean_h = sums.h / count;
  const double square_g = sums.gg - count * mean_g * mean_g;
  const double square_h = sums.hh - count * mean_h * mean_h;
  TokenRelation relation;
  if (!(square_g > 1e-24) || !(square_h > 1e-24)) return relation;  // all pairs alike
  const double norms = std::sqrt(square_g * square_h);
  const double cosine = (sums.gh - count * mean_g * mean_h) / norms;
  relation.value = 1.0 - cosine;
  relation.from_h = -1.0 / norms;
  relation.from_g = cosine / square_g;
  relation.constant = -relation.from_h * mean_h - relation.from_g * mean_g;
  return relation;
}

// by_x += factor * d value / d G; an undefined by_x counts as zeros.
void add_relation_gradient(const TokenRelation& relation, double factor, const Similarities& m,
                           Tensor& by_x) {
  if (!by_x.defined()) by_x = at::zeros_like(m.xx);
  if (!kernels_apply(m.xx)) {
    by_x.add_(m.xx, factor * relation.from_g)
        .add_(m.yy, factor * relation.from_h)
        .add_(factor * relation.constant);
    return;
  }
  const GramCombination by{.from_g = static_cast<float>(factor * relation.from_g),
                           .from_h = static_cast<float>(factor * relation.from_h),
                           .constant = static_cast<float>(factor * relation.constant)};
  const std::int64_t size = m.xx.size(0);
  at::parallel_for(0, size, 16, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t at = begin * size;
    combine_grams(by, m.xx.data_ptr<float>() + at, m.yy.data_ptr<float>() + at,
                  (end - begin) * size, by_x.data_ptr<float>() + at);
  });
}

// The two relation terms on unit rows; adds to `terms` and returns d / d unit x, or an undefined
// tensor.
Tensor relation_terms(const Tensor& x, const Tensor& y, const LearnSpec& spec,
                      WithGradient gradient, LossTerms& terms) {
  Similarities m{.xx = x.matmul(x.t()), .yy = y.matmul(y.t()), .xy = {}};
  Tensor by_x;  // coefficient of x
  Tensor result;
  if (spec.sinkhorn > 0) {
    m.xy = x.matmul(y.t());
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
      add_relation_gradient(relation, 2.0 * spec.token_relation, m, by_x);
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
