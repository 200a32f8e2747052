#include "methods/ordered_layer.h"

#include "format/value_grid.h"

namespace lowbit {

std::int64_t group_size_of(const WeightScheme& scheme, std::int64_t in) {
  return scheme.group_size == 0 ? in : scheme.group_size;
}

ColumnRun OrderedLayer::run(const WeightScheme& scheme, std::int64_t first,
                            std::int64_t count) const {
  const std::int64_t in = weight.size(1);
  return {.bits = scheme.bits,
          .values = value_grid(scheme.format),
          .columns = count,
          .stride = in,
          .groups_per_row = in / group_size_of(scheme, in),
          .group_of = group_of.data_ptr<std::int64_t>() + first};
}

OrderedLayer in_order(const Tensor& weight, const InputStatistics& inputs,
                      const WeightScheme& scheme, ColumnOrder order) {
  const std::int64_t in = weight.size(1);
  Tensor hessian = inputs.hessian.to(at::kCPU, at::kDouble).clone();
  const Tensor dead = hessian.diagonal().le(0);
  hessian.diagonal().add_(dead.to(at::kDouble));
  OrderedLayer layer;
  layer.order = order == ColumnOrder::largest_input_first ? hessian.diagonal().argsort(-1, true)
                                                          : at::arange(in);
  const auto both_ways = [&](const Tensor& matrix) {
    return matrix.index_select(0, layer.order).index_select(1, layer.order).contiguous();
  };
  layer.group_of = layer.order.floor_divide(group_size_of(scheme, in)).contiguous();
  layer.dead = dead.index_select(0, layer.order);
  layer.weight = weight.to(at::kCPU, at::kFloat).index_select(1, layer.order).contiguous();
  layer.hessian = both_ways(hessian);
  if (inputs.drift.defined()) layer.drift = both_ways(inputs.drift.to(at::kCPU, at::kDouble));
  return layer;
}

}  // namespace lowbit
