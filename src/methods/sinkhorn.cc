#include "methods/sinkhorn.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "kernels/softmin.h"

namespace lowbit {
namespace {

constexpr std::int64_t kGrain = 16;  // rows or columns a thread takes at least, a multiple of 16

bool kernels_apply(const Tensor& m) {
  return m.is_cpu() && m.scalar_type() == at::kFloat && m.is_contiguous();
}

SimilarityView view(const Tensor& m) { return {m.data_ptr<float>(), m.size(0)}; }

// softmin_i = -epsilon log sum_j exp(h_j + (m_ij - 1) / epsilon)
Tensor row_softmin(const Tensor& m, const Tensor& h, double epsilon) {
  if (!kernels_apply(m)) return -epsilon * at::logsumexp(h + (m - 1) / epsilon, 1);
  Tensor out = at::empty_like(h);
  at::parallel_for(0, m.size(0), kGrain, [&](std::int64_t begin, std::int64_t end) {
    softmin_rows(view(m), begin, end, h.data_ptr<float>(), static_cast<float>(epsilon),
                 out.data_ptr<float>());
  });
  return out;
}

// The same over columns.
Tensor column_softmin(const Tensor& m, const Tensor& h, double epsilon) {
  if (!kernels_apply(m)) {
    return -epsilon * at::logsumexp(h.unsqueeze(1) + (m - 1) / epsilon, 0);
  }
  Tensor out = at::empty_like(h);
  const std::int64_t panels = (m.size(0) + kGrain - 1) / kGrain;
  at::parallel_for(0, panels, 1, [&](std::int64_t begin, std::int64_t end) {
    softmin_columns(view(m), begin * kGrain, std::min(end * kGrain, m.size(0)), h.data_ptr<float>(),
                    static_cast<float>(epsilon), out.data_ptr<float>());
  });
  return out;
}

Tensor row_softmax(const Tensor& m, const Tensor& h, double epsilon, double scale) {
  if (!kernels_apply(m)) return at::softmax(h + (m - 1) / epsilon, 1) * scale;
  Tensor out = at::empty_like(m);
  at::parallel_for(0, m.size(0), kGrain, [&](std::int64_t begin, std::int64_t end) {
    softmax_rows(view(m), begin, end, h.data_ptr<float>(), static_cast<float>(epsilon),
                 static_cast<float>(scale), out.data_ptr<float>());
  });
  return out;
}

}  // namespace

std::vector<double> epsilon_schedule(double diameter, double blur) {
  std::vector<double> epsilons = {diameter * diameter};
  if (diameter > 0) {
    const double step = 2.0 * std::log(0.5);  // geomloss: scaling 0.5 on lengths, p = 2
    const double last = 2.0 * std::log(blur);
    const double first = 2.0 * std::log(diameter);
    const auto count = static_cast<std::int64_t>(std::ceil((last - first) / step));
    for (std::int64_t i = 0; i < count; ++i) {
      epsilons.push_back(std::exp(first + static_cast<double>(i) * step));
    }
  } else {
    epsilons.front() = blur * blur;
  }
  epsilons.push_back(blur * blur);
  return epsilons;
}

double bounding_diameter(const Tensor& x, const Tensor& y) {
  const Tensor low = at::minimum(x.amin(0), y.amin(0));
  const Tensor high = at::maximum(x.amax(0), y.amax(0));
  return (high - low).norm().item<double>();
}

SinkhornResult sinkhorn_divergence(const Similarities& m, const std::vector<double>& epsilons,
                                   WithGradient gradient) {
  const auto tokens = m.xy.size(0);
  const double log_weight = -std::log(static_cast<double>(tokens));
  const Tensor uniform = at::full({tokens}, log_weight, m.xy.options());
  const double start = epsilons.front();
  // f: potentials on x, g: on y.
  Tensor f_xy = row_softmin(m.xy, uniform, start);
  Tensor g_yx = column_softmin(m.xy, uniform, start);
  Tensor f_xx = row_softmin(m.xx, uniform, start);
  Tensor g_yy = row_softmin(m.yy, uniform, start);
  for (const double epsilon : epsilons) {
    const Tensor next_f_xy = row_softmin(m.xy, uniform + g_yx / epsilon, epsilon);
    const Tensor next_g_yx = column_softmin(m.xy, uniform + f_xy / epsilon, epsilon);
    f_xx = (f_xx + row_softmin(m.xx, uniform + f_xx / epsilon, epsilon)) / 2;
    g_yy = (g_yy + row_softmin(m.yy, uniform + g_yy / epsilon, epsilon)) / 2;
    f_xy = (f_xy + next_f_xy) / 2;
    g_yx = (g_yx + next_g_yx) / 2;
  }
  const double last = epsilons.back();
  const Tensor h_xy = uniform + g_yx / last;
  const Tensor h_xx = uniform + f_xx / last;
  const Tensor last_f = row_softmin(m.xy, h_xy, last) - row_softmin(m.xx, h_xx, last);
  const Tensor last_g = column_softmin(m.xy, uniform + f_xy / last, last) -
                        row_softmin(m.yy, uniform + g_yy / last, last);
  SinkhornResult result;
  result.value = last_f.mean().item<double>() + last_g.mean().item<double>();
  if (gradient == WithGradient::yes) {
    const double scale = 1.0 / static_cast<double>(tokens);
    result.plan_xx = row_softmax(m.xx, h_xx, last, scale);
    result.plan_xy = row_softmax(m.xy, h_xy, last, scale);
  }
  return result;
}

}  // namespace lowbit
