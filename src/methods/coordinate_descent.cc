#include "methods/coordinate_descent.h"

#include <ATen/Parallel.h>

#include <algorithm>

namespace lowbit {
namespace {

constexpr std::int64_t kLastRelaxedPass = 25;

class Descent {
 public:
  Descent(const OrderedLayer& layer, const GroupParameters& parameters, const WeightScheme& scheme,
          const DescentOptions& options)
      : layer_(layer), parameters_(parameters), scheme_(scheme), options_(options) {
    CHECK(options.asymmetry == 0 || layer.drift.defined());
    Tensor h = layer.hessian.clone();
    h.diagonal().add_(options.damping * h.diagonal().mean());
    ratio_ = (h / h.diagonal().unsqueeze(0)).to(at::kFloat).contiguous();
    diagonal_ = h.diagonal().to(at::kFloat).contiguous();
    hessian_ = h.to(at::kFloat);
    if (options.asymmetry > 0) {
      pull_ = layer.weight.matmul((layer.drift * options.asymmetry).to(at::kFloat));
    }
  }

  Tensor run(const Tensor& start) {
    Tensor kept = start.defined() ? start : layer_.weight;
    Tensor value = start.defined() ? rounded(start) : layer_.weight.clone();
    Tensor slope = slope_at(value);
    Tensor least =
        start.defined() ? losses(value, slope) : at::full({value.size(0)}, INFINITY, at::kDouble);
    for (std::int64_t pass = 0; pass < options_.passes; ++pass) {
      const Visit visit = relaxed(pass) ? Visit::relaxed : Visit::rounded;
      const Tensor best = value + slope / diagonal_;
      descend(best, value, visit);
      slope = slope_at(value);
      if (visit == Visit::relaxed) continue;
      const Tensor loss = losses(value, slope);
      const Tensor better = loss.le(least);  // of equals the later, whose columns all are at rest
      least = at::where(better, loss, least);
      kept = at::where(better.unsqueeze(1), best, kept);
    }
    return kept;
  }

 private:
  bool relaxed(std::int64_t pass) const {
    return options_.relaxed_passes && pass % 3 == 1 && pass <= kLastRelaxedPass &&
           pass + 1 < options_.passes;
  }

  // Half the negative gradient: (w - v) H + asymmetry w D.
  Tensor slope_at(const Tensor& value) const {
    const Tensor slope = (layer_.weight - value).matmul(hessian_);
    return pull_.defined() ? slope + pull_ : slope;
  }

  Tensor losses(const Tensor& value, const Tensor& slope) const {
    const Tensor twice = pull_.defined() ? slope + pull_ : slope;
    return ((layer_.weight - value) * twice).sum(1, false, at::kDouble);
  }

  Tensor rounded(const Tensor& weight) const {
    const Tensor back = layer_.order.argsort();
    return fake_quant_weight(weight.index_select(1, back).contiguous(), parameters_, scheme_)
        .index_select(1, layer_.order)
        .contiguous();
  }

  void descend(const Tensor& best, const Tensor& value, Visit visit) const {
    const std::int64_t in = best.size(1);
    for (std::int64_t first = 0; first < in; first += options_.run_columns) {
      const std::int64_t last = std::min(first + options_.run_columns, in);
      const Tensor moved = at::empty({best.size(0), last - first}, at::kFloat);
      const ColumnDescent how{.run = layer_.run(scheme_, first, last - first),
                              .ratio = ratio_.data_ptr<float>() + first * (in + 1),
                              .visit = visit};
      at::parallel_for(0, best.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
        descend_columns(how, begin, end, best.data_ptr<float>() + first,
                        value.data_ptr<float>() + first, parameters_.scale.data_ptr<float>(),
                        parameters_.zero.data_ptr<float>(), moved.data_ptr<float>());
      });
      if (last == in) return;
      best.slice(1, last).sub_(moved.matmul(ratio_.slice(0, first, last).slice(1, last)));
    }
  }

  const OrderedLayer& layer_;
  const GroupParameters& parameters_;
  const WeightScheme& scheme_;
  const DescentOptions& options_;
  Tensor hessian_, ratio_, diagonal_, pull_;
};

}  // namespace

Tensor coordinate_descent(const OrderedLayer& layer, const GroupParameters& parameters,
                          const WeightScheme& scheme, const DescentOptions& options,
                          const Tensor& start) {
  GroupParameters p = parameters;
  p.scale = parameters.scale.to(at::kCPU).contiguous();
  p.zero = parameters.zero.to(at::kCPU).contiguous();
  return Descent(layer, p, scheme, options).run(start);
}

}  // namespace lowbit
