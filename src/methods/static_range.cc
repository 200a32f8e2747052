#include "methods/static_range.h"

#include <algorithm>

#include "format/value_grid.h"
#include "methods/inputs.h"

namespace lowbit {

float static_scale(double largest, const ActivationScheme& scheme) {
  if (scheme.format != WeightFormat::integer) {
    return global_scale_of(scheme.format, static_cast<float>(largest));
  }
  return static_cast<float>(std::clamp(largest / ((1 << (scheme.bits - 1)) - 0.5), 1e-5, 1e4));
}

BlockPass static_range_pass() {
  return [](BlockTask& task) -> Status {
    const auto stores_scale = [](const PlannedLinear& linear) {
      return linear.scheme.activation.stores_scale();
    };
    if (std::none_of(task.linears.begin(), task.linears.end(), stores_scale)) return {};
    std::vector<double> largest(task.linears.size());
    constexpr std::int64_t kAllWindows = 0;
    measure_inputs(
        task, float_query(task, kAllWindows, Basis::turned),
        [](const Tensor& x) { return Measured{x.abs().amax()}; },
        [&](std::span<const std::size_t> alike, const Measured& found) {
          for (const std::size_t i : alike) {
            largest[i] = std::max(largest[i], found[0].item<double>());
          }
        });
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      ActivationScheme& activation = task.linears[i].scheme.activation;
      if (!activation.stores_scale()) continue;
      activation.scale = static_scale(activation.clip * largest[i], activation);
      activation.clip = 1;
    }
    return task.on_step(0, "static ranges");
  };
}

}  // namespace lowbit
