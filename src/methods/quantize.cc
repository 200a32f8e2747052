#include "methods/quantize.h"

#include "calib/pipeline.h"
#include "methods/bias.h"
#include "methods/clip.h"
#include "methods/kronecker.h"
#include "methods/learn_block.h"
#include "methods/range.h"
#include "methods/rotate.h"
#include "methods/smooth.h"
#include "methods/solve.h"
#include "methods/static_range.h"
#include "methods/tune.h"

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
  const Recipe& recipe = plan.recipe;
  PipelinePasses passes{.block = {}, .table = squared_error_range};
  if (recipe.smooth.method != SmoothMethod::none)
    passes.block.push_back(smooth_pass(recipe.smooth, recipe.range));
  if (recipe.rotate.learns()) passes.block.push_back(kronecker_pass(recipe.rotate));
  if (recipe.rotate.method != RotateMethod::none) passes.block.push_back(rotate_pass());
  passes.block.push_back(range_pass(recipe.range));
  if (recipe.may_be_static()) passes.block.push_back(static_range_pass());
  if (recipe.searches_clips()) passes.block.push_back(clip_pass());
  const BiasCorrection bias = bias_correction();
  if (recipe.corrects_biases()) passes.block.push_back(bias.measure);
  const bool solves = recipe.solve.method != SolveMethod::nearest;
  if (solves || recipe.adds_low_rank()) {
    // of rounding to nearest a recipe has no options
    passes.block.push_back(
        solve_pass(solves ? recipe.solve : SolveSpec{}, recipe.range,
                   recipe.adds_low_rank() ? std::optional(recipe.low_rank) : std::nullopt));
  }
  if (recipe.corrects_biases()) passes.block.push_back(bias.correct);
  passes.teacher_inputs = recipe.needs_teacher_inputs();
  for (const LearnSpec& learn : recipe.learn) passes.block.push_back(learn_pass(learn));
  if (recipe.tune.method != TuneMethod::none) passes.model = tune_pass(recipe.tune);
  return run_pipeline(checkpoint, plan, windows, options, passes);
}

Result<std::string> quantize_digest(const Checkpoint& checkpoint, const Plan& plan,
                                    const QuantizeOptions& options) {
  return run_digest(checkpoint, plan, options);
}

}  // namespace lowbit
