#include "methods/block_gradient.h"

#include <cmath>
#include <numeric>

#include "calib/windows.h"

namespace lowbit {

BlockGradient block_gradient(const TorchBlock& block, const GradientQuery& query,
                             const std::vector<Tensor>& weights, const Tensor& x,
                             const std::function<Tensor(const Tensor& output)>& upstream) {
  const auto leaf = [](const Tensor& values) { return values.detach().requires_grad_(true); };
  std::vector<Tensor> own = weights;
  for (const std::size_t linear : query.weights) own[linear] = leaf(weights[linear]);
  TorchBlock student = block;
  TorchBlock::Floats gains;
  const auto floats = student.floats();
  for (const std::string& name : query.gains) gains[name] = leaf(floats.at(name));
  student.set_floats(gains);
  const Tensor input = query.input ? leaf(x) : x;
  std::vector<Tensor> parts;
  for (const Tensor& part : query.parts) parts.push_back(leaf(part));
  const auto take = [&](std::size_t linear, const Tensor& rows) {
    const ActivationScheme& scheme = query.linears[linear].scheme.activation;
    const Tensor taken = query.input_of(linear, rows, parts);
    return scheme.quantized() ? fake_quant_activation_reference(taken, scheme) : taken;
  };
  const auto products = student_products(student, query.linears, own, query.precision, {},
                                         query.input_of ? InputTaker(take) : InputTaker());
  const Tensor output = student.forward(input, products);
  const Tensor by_output = upstream(output.detach());
  BlockGradient found;
  if (!by_output.defined()) return found;
  output.backward(by_output);
  for (const std::size_t linear : query.weights) found.weights.push_back(own[linear].grad());
  for (const std::string& name : query.gains) found.gains.push_back(gains.at(name).grad());
  for (const Tensor& part : parts) found.parts.push_back(part.grad());
  if (query.input) found.input = input.grad();
  return found;
}

BlockGradient mean_of(const std::vector<BlockGradient>& windows) {
  const at::NoGradGuard no_gradient;
  const double share = 1.0 / static_cast<double>(windows.size());
  BlockGradient mean;
  for (const auto kind : {&BlockGradient::weights, &BlockGradient::gains, &BlockGradient::parts}) {
    for (std::size_t i = 0; i < (windows.front().*kind).size(); ++i) {
      Tensor sum = (windows.front().*kind)[i] * share;
      for (std::size_t w = 1; w < windows.size(); ++w) sum.add_((windows[w].*kind)[i], share);
      (mean.*kind).push_back(sum);
    }
  }
  return mean;
}

MeanGradient mean_gradient(
    const BlockTask& task, const GradientQuery& query, const std::vector<Tensor>& weights,
    WindowRange windows,
    const std::function<WindowLoss(std::int64_t window, const Tensor& output)>& loss_of) {
  const auto count = static_cast<std::size_t>(windows.last - windows.first);
  std::vector<BlockGradient> found(count);
  std::vector<double> losses(count);
  for_windows(task.device, windows.first, windows.last, [&](std::int64_t window) {
    const auto at = static_cast<std::size_t>(window - windows.first);
    const auto upstream = [&](const Tensor& output) {
      WindowLoss of_window = loss_of(window, output);
      losses[at] = of_window.loss;
      return std::isfinite(of_window.loss) ? of_window.gradient : Tensor();
    };
    found[at] = block_gradient(task.student, query, weights, task.inputs.get(window, task.device),
                               upstream);
  });
  const double loss =
      std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(count);
  return {.loss = loss, .mean = std::isfinite(loss) ? mean_of(found) : BlockGradient()};
}

}  // namespace lowbit
