// lowbit quantize: a model, a recipe and a text in, a packed model out.
#include <fmt/format.h>

#include <cmath>

#include "base/progress.h"
#include "cli/calibration_part.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/printable.h"
#include "cli/recipe_options.h"
#include "cli/table.h"
#include "cli/text_windows.h"
#include "cli/threads_option.h"

namespace lowbit {
namespace {

constexpr std::int64_t kProgressSteps = 1000;

std::string blocks_table(const QuantizeReport& report) {
  Table table({{"block", Align::right},
               {"loss before", Align::right},
               {"after", Align::right},
               {"relative MSE before", Align::right},
               {"after", Align::right},
               {"seconds", Align::right}});
  for (const BlockReport& block : report.blocks) {
    table.add({std::to_string(block.index), fmt::format("{:.5g}", block.loss_before),
               fmt::format("{:.5g}", block.loss_after), fmt::format("{:.5g}", block.mse_before),
               fmt::format("{:.5g}", block.mse_after), fmt::format("{:.1f}", block.seconds)});
  }
  return table.render();
}

void print_report(const QuantizeReport& report, const std::string& output) {
  if (report.already_complete) {
    fmt::print("{}: already holds the result of this run; nothing to do\n", printable(output));
  } else {
    if (!report.blocks.empty()) fmt::print("{}\n", blocks_table(report));
    for (const BlockReport& block : report.blocks) {
      print_notices(block.notices, fmt::format("block {}: ", block.index));
    }
    if (report.tune) {
      fmt::print("tuned            KL {:.5f} to {:.5f}, {}\n", report.tune->kl_before,
                 report.tune->kl_after, duration_text(report.tune->seconds));
      print_notices(report.tune->notices, "tune: ");
    }
    fmt::print("time             {}\n", duration_text(report.seconds));
  }
  fmt::print("bits per weight  {:.3f}\n", report.bits_per_weight);
  fmt::print("output           {}, {}\n", printable(output), size_text(report.output_bytes));
}

class QuantizeCommand : public Command {
 public:
  std::string name() const override { return "quantize"; }
  std::string purpose() const override { return "Quantize a model and write it packed"; }

  void declare(CLI::App& app) override {
    app.add_option("MODEL", model_, "Model folder")->required();
    app.add_option("-o,--output", output_, "Output folder; an unfinished run there goes on")
        ->required();
    recipe_.declare(app);
    app.add_option("--calib", text_,
                   "Calibration text: a file, or self for text that the model samples")
        ->type_name("FILE|self");
    app.add_option("--offload-dir", offload_,
                   "Keep the calibration streams in this folder, not in memory");
    app.add_flag("--restart", restart_, "Forget what is in the output folder and begin again");
    app.add_option("--device", device_, "cpu, cuda or cuda:N")->capture_default_str();
    threads_.declare(app);
    app.footer(
        "Examples:\n"
        "  lowbit quantize models/tiny-llama -o out/tiny-w4a4 --scheme W4A4 --calib self\n"
        "  lowbit quantize models/tiny-llama -o out/tiny-w3a16 --recipe frm-w3a16 \\\n"
        "    --calib text.txt --nsamples 64 --set learn.epochs=2");
  }

  Status run() override {
    const Status available = calibration_available(device_);
    if (!available) return available;
    threads_.apply();
    const Result<Recipe> recipe = recipe_.load();
    if (!recipe) return recipe.error();
    const Result<Checkpoint> checkpoint = Checkpoint::open(real_file_system(), model_);
    if (!checkpoint) return checkpoint.error();
    const Result<Plan> plan =
        make_plan(*checkpoint, *recipe, {.streams_on_disk = !offload_.empty()});
    if (!plan) return plan.error();
    print_notices(plan->notices, "");
    const Status feasible = check_feasible(*plan, real_file_system(), output_);
    if (!feasible) return feasible;
    return quantize_by(*plan, *checkpoint);
  }

 private:
  // A text that no pass looks at is not read, but must not be taken for one that was.
  Result<CalibrationText> text_for(const Recipe& recipe) const {
    if (!recipe.needs_calibration()) {
      CalibrationText none;
      if (!text_.empty()) {
        none.notices.push_back(
            fmt::format("recipe {} uses no text; --calib is not read", recipe.name));
      }
      return none;
    }
    if (text_.empty()) {
      return usage_error(
          "quantize/no-calibration-text",
          fmt::format("recipe {} learns from text; give --calib FILE or --calib self",
                      recipe.name));
    }
    const Result<TextChoice> choice = parse_text_choice(text_);
    if (!choice) return choice.error();
    return calibration_text(model_, *choice, recipe.calibration);
  }

  Status quantize_by(const Plan& plan, const Checkpoint& checkpoint) {
    Result<CalibrationText> text = text_for(plan.recipe);
    if (!text) return text.error();
    print_notices(text->notices, "");

    QuantizeOptions options;
    options.output = output_;
    options.device = device_;
    options.offload_dir = offload_;
    options.restart = restart_;
    options.inputs = text->inputs;
    Result<QuantizeReport> report = [&] {
      Progress progress("quantize", kProgressSteps);
      options.on_progress = [&](double fraction, const std::string& detail) {
        progress.update(std::llround(fraction * static_cast<double>(kProgressSteps)), detail);
      };
      return run_quantize(checkpoint, plan, text->windows, options);
    }();
    if (!report) return report.error();
    print_report(*report, output_);
    return {};
  }

  std::string model_, output_, text_, offload_;
  std::string device_ = "cpu";
  bool restart_ = false;
  RecipeOptions recipe_;
  ThreadsOption threads_;
};

}  // namespace

std::unique_ptr<Command> make_quantize_command() { return std::make_unique<QuantizeCommand>(); }

}  // namespace lowbit
