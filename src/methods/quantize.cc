#include "methods/quantize.h"

#include "calib/pipeline.h"
#include "methods/learn_block.h"
#include "methods/range.h"

namespace lowbit {

Status check_device(const std::string& name) {
  const auto device = find_device(name);
  if (!device) return device.error();
  return {};
}

Result<QuantizeReport> quantize(const Checkpoint& checkpoint, const Plan& plan,
                                const CalibrationWindows& windows, const QuantizeOptions& options) {
  if (plan.recipe.needs_calibration() && windows.train.empty()) {
    return usage_error("quantize/no-calibration-text",
                       "recipe " + plan.recipe.name +
                           " learns from text and was given none; pass --calib FILE or "
                           "--calib self");
  }
  PipelinePasses passes{.block = {range_pass(plan.recipe.range)}, .table = squared_error_range};
  for (const LearnSpec& learn : plan.recipe.learn) passes.block.push_back(learn_pass(learn));
  return run_pipeline(checkpoint, plan, windows, options, passes);
}

Result<std::string> quantize_digest(const Checkpoint& checkpoint, const Plan& plan,
                                    const QuantizeOptions& options) {
  return run_digest(checkpoint, plan, options);
}

}  // namespace lowbit
