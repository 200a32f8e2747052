// lowbit eval: perplexity of a model, and its distance from a reference.
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "base/progress.h"
#include "cli/command.h"
#include "cli/evaluation_json.h"
#include "cli/kv_option.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/text_windows.h"
#include "cli/threads_option.h"
#include "eval/evaluate.h"

namespace lowbit {
namespace {

std::string evaluation_table(const Evaluation& evaluation, KvType kv) {
  Table table({{"measure"}, {"value", Align::right}});
  table.add({"perplexity", fmt::format("{:.4f}", evaluation.perplexity)});
  if (evaluation.reference_perplexity) {
    table.add(
        {"perplexity of the reference", fmt::format("{:.4f}", *evaluation.reference_perplexity)});
  }
  if (evaluation.kl) {
    const double error = evaluation.kl_standard_error.value_or(std::nan(""));
    table.add({"KL divergence (nats)", fmt::format("{:.5f} ± {:.5f}", *evaluation.kl, error)});
  }
  if (evaluation.top1_agreement) {
    table.add({"top-1 agreement", fmt::format("{:.2f} %", 100 * *evaluation.top1_agreement)});
  }
  table.add({"bits per weight", fmt::format("{:.3f}", evaluation.bits_per_weight)});
  table.add({"with embedding and head", fmt::format("{:.3f}", evaluation.model_bits_per_weight)});
  table.add({"keys and values", std::string(name_of(kv))});
  table.add({"windows", std::to_string(evaluation.windows)});
  table.add({"time", duration_text(evaluation.seconds)});
  return table.render();
}

class EvalCommand : public Command {
 public:
  std::string name() const override { return "eval"; }
  std::string purpose() const override {
    return "Measure perplexity, and KL divergence to a reference model";
  }

  void declare(CLI::App& app) override {
    app.add_option("MODEL", model_, "Model folder, packed or float")->required();
    app.add_option("--reference", reference_, "Model folder to compare with, usually the source");
    app.add_option(
           "--text", text_,
           "Text: a file, or self[:SEED] for text that the reference (else the model) samples")
        ->type_name("FILE|self[:SEED]")
        ->required();
    app.add_option("--seqlen", options_.window_length, "Tokens of a window")
        ->capture_default_str()
        ->check(CLI::Range(2, 1 << 20));
    app.add_option(
           "--max-windows", options_.max_windows,
           fmt::format("At most so many windows; sampled text has {} else", kSampledWindows))
        ->check(CLI::Range(1, 1 << 24));
    kv_.declare(app, KvType::f32);
    json_.declare(app);
    threads_.declare(app);
    app.footer(
        "Example:\n"
        "  lowbit eval out/tiny-w4a4 --reference models/tiny-llama --text test.txt");
  }

  Status run() override {
    threads_.apply();
    const Result<TextChoice> choice = parse_text_choice(text_);
    if (!choice) return choice.error();
    const Result<ReferenceModel> model = ReferenceModel::open(real_file_system(), model_);
    if (!model) return model.error();
    std::optional<ReferenceModel> reference;
    if (!reference_.empty()) {
      Result<ReferenceModel> opened = ReferenceModel::open(real_file_system(), reference_);
      if (!opened) return std::move(opened).error();
      reference.emplace(std::move(*opened));
    }
    Status fits = check_length(*model, reference ? &*reference : nullptr);
    if (!fits) return fits;
    const auto windows =
        evaluation_windows(model_, reference_.empty() ? model_ : reference_, *choice, options_);
    if (!windows) return windows.error();

    const KvType kv = kv_.type(*model);
    const Result<Evaluation> evaluation = [&] {
      std::optional<Progress> progress;
      return evaluate(
          *model, reference ? &*reference : nullptr, *windows,
          [&](std::int64_t done, std::int64_t total) {
            if (!progress) progress.emplace("evaluate", total);
            progress->update(done);
          },
          kv);
    }();
    if (!evaluation) return evaluation.error();
    if (!json_.replaces_table()) fmt::print("{}", evaluation_table(*evaluation, kv));
    OrderedJson result = evaluation_json(*evaluation);
    result["window_length"] = options_.window_length;
    result["kv"] = name_of(kv);
    return json_.write(result);
  }

 private:
  Status check_length(const ReferenceModel& model, const ReferenceModel* reference) const {
    std::int64_t positions = model.spec().max_positions;
    if (reference != nullptr) positions = std::min(positions, reference->spec().max_positions);
    if (options_.window_length <= positions) return {};
    return usage_error(
        "eval/window-too-long",
        fmt::format("windows of {} tokens and a model of {} positions; give a --seqlen "
                    "up to that",
                    options_.window_length, positions));
  }

  std::string model_, reference_, text_;
  EvaluationOptions options_;
  KvOption kv_;
  JsonOutput json_;
  ThreadsOption threads_;
};

}  // namespace

std::unique_ptr<Command> make_eval_command() { return std::make_unique<EvalCommand>(); }

}  // namespace lowbit
