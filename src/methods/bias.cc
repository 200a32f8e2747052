#include "methods/bias.h"

#include <memory>
#include <utility>

#include "methods/inputs.h"

namespace lowbit {
namespace {

constexpr std::int64_t kWindows = 32;

bool can_correct(const BlockTask& task, std::size_t linear) {
  return task.student.bias(linear).defined() && task.linears[linear].scheme.weight.quantized();
}

// Means of what `of` takes from the inputs of the wanted linears, [in] each; others undefined.
std::vector<Tensor> means_of(const BlockTask& task, const InputQuery& query,
                             const std::function<Tensor(const SeenInput& seen)>& of) {
  std::vector<Tensor> sums(task.linears.size());
  std::int64_t windows = 0;
  measure_seen(
      task, query,
      [&](const SeenInput& seen) { return Measured{of(seen).mean(0, false, at::kDouble)}; },
      [&](std::span<const std::size_t> alike, const Measured& found) {
        for (const std::size_t i : alike)
          sums[i] = sums[i].defined() ? sums[i] + found[0] : found[0];
        if (alike.front() == query.wanted.front()) ++windows;
      });
  for (Tensor& sum : sums) {
    if (sum.defined()) sum = (sum / windows).to(at::kFloat);
  }
  return sums;
}

// The float block: what its linears put out, but for their biases, in the mean.
std::vector<Tensor> float_outputs(const BlockTask& task) {
  InputQuery query = float_query(task, kWindows, Basis::turned);
  query.teacher_weights = query.weights;
  std::erase_if(query.wanted, [&](std::size_t i) { return !can_correct(task, i); });
  if (query.wanted.empty()) return {};
  std::vector<Tensor> outputs =
      means_of(task, query, [](const SeenInput& seen) { return seen.teacher; });
  for (const std::size_t i : query.wanted) outputs[i] = query.weights[i].mv(outputs[i]);
  return outputs;
}

Status correct_set(BlockTask& task, const LinearSet& set, const std::vector<Tensor>& outputs) {
  InputQuery query{.linears = task.linears, .weights = {}, .windows = kWindows, .wanted = set};
  for (std::size_t i = 0; i < task.linears.size(); ++i) {
    const WeightScheme& scheme = task.linears[i].scheme.weight;
    const Tensor& weight = task.student.weight(i);
    query.weights.push_back(
        scheme.quantized() ? fake_quant_weight(weight, task.parameters[i], scheme) : weight);
  }
  const std::vector<Tensor> means =
      means_of(task, query, [](const SeenInput& seen) { return seen.x; });
  for (const std::size_t i : set) {
    const Tensor bias = task.student.bias(i) + outputs[i] - query.weights[i].mv(means[i]);
    const std::string& name = task.linears[i].linear.name;
    if (!bias.isfinite().all().item<bool>()) return non_finite_inputs(name);
    task.student.set_floats({{name + ".bias", bias}});
  }
  return {};
}

}  // namespace

BiasCorrection bias_correction() {
  const auto outputs = std::make_shared<std::vector<Tensor>>();  // of the block in work
  const auto measure = [outputs](BlockTask& task) -> Status {
    CHECK(task.teacher_inputs != nullptr);
    *outputs = float_outputs(task);
    return {};
  };
  const auto correct = [outputs](BlockTask& task) -> Status {
    const at::NoGradGuard no_gradient;
    for (LinearSet set : task.student.spec().input_sets()) {
      std::erase_if(set, [&](std::size_t i) { return !can_correct(task, i); });
      if (set.empty()) continue;
      if (auto status = correct_set(task, set, *outputs); !status) return status;
    }
    return task.on_step(0, "bias");
  };
  return {measure, correct};
}

}  // namespace lowbit
