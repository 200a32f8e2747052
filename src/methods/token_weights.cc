#include "methods/token_weights.h"

#include "calib/windows.h"
#include "methods/inputs.h"

namespace lowbit {

Tensor weights_of_importance(const Tensor& importance, double least) {
  const Tensor low = importance.min();
  const Tensor reach = importance.max() - low;
  if (!(reach.item<double>() > 0)) return at::ones_like(importance);
  const Tensor mapped = (importance - low) / reach * (1.0 - least) + least;
  return mapped / mapped.mean();
}

double effective_tokens(const Tensor& weights) {
  const Tensor w = weights.to(at::kDouble);
  return (w.sum().square() / w.square().sum()).item<double>();
}

std::vector<Tensor> attention_weights(const BlockTask& task, std::int64_t windows, double least) {
  const at::NoGradGuard no_gradient;
  const InputQuery query = float_query(task, windows, Basis::turned);
  const auto products =
      student_products(task.student, query.linears, query.weights, Precision::float32);
  std::vector<Tensor> weights(static_cast<std::size_t>(asked_windows(task, windows)));
  for_windows(task.device, 0, std::ssize(weights), [&](std::int64_t window) {
    const Tensor received =
        task.student.attention_received(task.inputs.get(window, task.device), products);
    weights[static_cast<std::size_t>(window)] = weights_of_importance(received, least);
  });
  return weights;
}

}  // namespace lowbit
