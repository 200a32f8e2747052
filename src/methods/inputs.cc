#include "methods/inputs.h"

#include <algorithm>
#include <utility>

#include "calib/windows.h"

namespace lowbit {

std::vector<LinearSet> input_sets(const BlockSpec& block) {
  if (block.gate) return {{0, 1, 2}, {3}, {4, 5}, {6}};
  return {{0, 1, 2}, {3}, {4}, {5}};
}

InputQuery float_query(const BlockTask& task, std::int64_t windows, Basis basis) {
  InputQuery query{.linears = task.linears, .weights = {}, .windows = windows, .wanted = {}};
  for (std::size_t i = 0; i < task.linears.size(); ++i) {
    query.linears[i].scheme.activation = {};
    if (basis == Basis::source) query.linears[i].scheme.transform = {};
    query.weights.push_back(task.student.weight(i));
    query.wanted.push_back(i);
  }
  return query;
}

Tensor sampled_tokens(const Tensor& x, std::int64_t count) {
  const std::int64_t stride = std::max<std::int64_t>(1, x.size(0) / count);
  return x.slice(0, 0, x.size(0), stride).clone();
}

void measure_inputs(
    const BlockTask& task, const InputQuery& query,
    const std::function<Measured(const Tensor& x)>& measure,
    const std::function<void(std::span<const std::size_t> alike, const Measured& found)>& take) {
  const at::NoGradGuard no_gradient;
  using Found = std::vector<std::pair<LinearSet, Measured>>;
  const LinearSet& wanted = query.wanted;
  const auto measure_window = [&](std::int64_t window) {
    Found found;
    const auto visit = [&](std::span<const std::size_t> which, const Tensor& x) {
      if (std::find(wanted.begin(), wanted.end(), which.front()) != wanted.end()) {
        found.emplace_back(LinearSet(which.begin(), which.end()), measure(x));
      }
      return which.back() < wanted.back();
    };
    const auto products =
        student_products(task.student, query.linears, query.weights, Precision::float32, visit);
    (void)task.student.forward(task.inputs.get(window, task.device), products);
    return found;
  };
  const std::int64_t count =
      query.windows == 0 ? task.train_windows : std::min(query.windows, task.train_windows);
  const std::int64_t at_once = windows_at_once(task.device);
  for (std::int64_t first = 0; first < count; first += at_once) {
    const std::int64_t last = std::min(first + at_once, count);
    std::vector<Found> found(static_cast<std::size_t>(last - first));
    for_windows(task.device, first, last, [&](std::int64_t window) {
      found[static_cast<std::size_t>(window - first)] = measure_window(window);
    });
    for (const Found& of_window : found) {
      for (const auto& [linears, measured] : of_window) take(linears, measured);
    }
  }
}

}  // namespace lowbit
