#include "methods/inputs.h"

#include <algorithm>
#include <map>
#include <utility>

#include "calib/windows.h"

namespace lowbit {
namespace {

bool is_wanted(const InputQuery& query, std::size_t linear) {
  return std::find(query.wanted.begin(), query.wanted.end(), linear) != query.wanted.end();
}

}  // namespace

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

std::int64_t asked_windows(const BlockTask& task, std::int64_t windows) {
  return windows == 0 ? task.train_windows : std::min(windows, task.train_windows);
}

Tensor sampled_tokens(const Tensor& x, std::int64_t count) {
  const std::int64_t stride = std::max<std::int64_t>(1, x.size(0) / count);
  return x.slice(0, 0, x.size(0), stride).clone();
}

Error non_finite_inputs(const std::string& linear) {
  return bad_input("quantize/non-finite",
                   linear +
                       ": its inputs are not finite; the source model overflows on this text, or "
                       "the recipe's bits are too few for it");
}

void measure_inputs(
    const BlockTask& task, const InputQuery& query,
    const std::function<Measured(const Tensor& x)>& measure,
    const std::function<void(std::span<const std::size_t> alike, const Measured& found)>& take) {
  measure_seen(
      task, query, [&](const SeenInput& seen) { return measure(seen.x); }, take);
}

namespace {

// The wanted linears' inputs of the float pass on one window.
std::map<std::size_t, Tensor> teacher_seen(const BlockTask& task, const InputQuery& query,
                                           std::int64_t window) {
  CHECK(task.teacher_inputs != nullptr);
  std::vector<PlannedLinear> linears = query.linears;
  for (PlannedLinear& linear : linears) {
    linear.scheme.activation = {};
    linear.scheme.low_rank = {};
  }
  std::map<std::size_t, Tensor> seen;
  const auto visit = [&](std::span<const std::size_t> which, const Tensor& x) {
    for (const std::size_t linear : which) {
      if (is_wanted(query, linear)) seen[linear] = x;
    }
    return which.back() < query.wanted.back();
  };
  const auto products =
      student_products(task.student, linears, query.teacher_weights, Precision::float32, visit);
  (void)task.student.forward(task.teacher_inputs->get(window, task.device), products);
  return seen;
}

}  // namespace

void measure_seen(
    const BlockTask& task, const InputQuery& query,
    const std::function<Measured(const SeenInput& seen)>& measure,
    const std::function<void(std::span<const std::size_t> alike, const Measured& found)>& take) {
  const at::NoGradGuard no_gradient;
  using Found = std::vector<std::pair<LinearSet, Measured>>;
  const auto measure_window = [&](std::int64_t window) {
    Found found;
    std::map<std::size_t, Tensor> teacher;
    if (!query.teacher_weights.empty()) teacher = teacher_seen(task, query, window);
    const auto visit = [&](std::span<const std::size_t> which, const Tensor& x) {
      if (is_wanted(query, which.front())) {
        const SeenInput seen{.x = x, .teacher = teacher[which.front()], .window = window};
        found.emplace_back(LinearSet(which.begin(), which.end()), measure(seen));
      }
      return which.back() < query.wanted.back();
    };
    const auto products =
        student_products(task.student, query.linears, query.weights, Precision::float32, visit);
    (void)task.student.forward(task.inputs.get(window, task.device), products);
    return found;
  };
  const std::int64_t count = asked_windows(task, query.windows);
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
