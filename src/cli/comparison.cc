#include "cli/comparison.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "base/progress.h"
#include "cli/calibration_part.h"
#include "cli/output.h"
#include "cli/printable.h"

namespace lowbit {
namespace {

constexpr std::int64_t kProgressSteps = 1000;
constexpr const char* kJournalName = ".lowbit-journal";

FileSystem& files() { return real_file_system(); }

Result<std::uint64_t> weight_bytes(const Checkpoint& checkpoint) {
  std::uint64_t bytes = 0;
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    const auto info = files().info(shard.path());
    if (!info) return info.error();
    bytes += info->size_bytes;
  }
  return bytes;
}

// Final states of the source, which stay in memory while the recipes after the first are quantized.
std::uint64_t states_bytes(const ModelSpec& model,
                           const std::vector<std::vector<TokenId>>& windows) {
  const std::size_t tokens =
      std::accumulate(windows.begin(), windows.end(), std::size_t{0},
                      [](std::size_t sum, const auto& window) { return sum + window.size(); });
  return tokens * static_cast<std::uint64_t>(model.hidden) * sizeof(float);
}

bool ends_all(const Error& error) { return error.kind == ErrorKind::interrupted; }

// A recipe's failure is told when it happens; the others go on.
void fail(ComparedRecipe& recipe, Error error) {
  fmt::print(stderr, "lowbit: recipe {}: {}\n", printable(recipe.name), printable(error.message));
  recipe.error = std::move(error);
}

// Reports to a progress line that begins with the first report.
ReferenceModel::Progress progress_line(std::optional<Progress>& line, const std::string& label) {
  return [&line, label](std::int64_t done, std::int64_t total) {
    if (!line) line.emplace(label, total);
    line->update(done);
  };
}

}  // namespace

Comparison::Comparison(ComparisonOptions options, std::vector<ComparedRecipe> recipes,
                       std::unique_ptr<ReferenceModel> source)
    : options_(std::move(options)),
      recipes_(std::move(recipes)),
      source_(std::move(source)),
      windows_sha256_(lowbit::windows_sha256(options_.windows)) {}

Result<Comparison> Comparison::prepare(ComparisonOptions options,
                                       std::vector<ComparedRecipe> recipes) {
  auto source = ReferenceModel::open(files(), options.model);
  if (!source) return std::move(source).error();
  Comparison comparison(std::move(options), std::move(recipes),
                        std::make_unique<ReferenceModel>(std::move(*source)));
  for (ComparedRecipe& recipe : comparison.recipes_) {
    Status planned = comparison.plan(recipe);
    if (planned) continue;
    if (ends_all(planned.error())) return std::move(planned).error();
    fail(recipe, std::move(planned).error());
  }
  return comparison;
}

Status Comparison::plan(ComparedRecipe& recipe) {
  auto plan = make_plan(source_->checkpoint(), recipe.recipe,
                        {.streams_on_disk = !options_.offload_dir.empty()});
  if (!plan) return std::move(plan).error();
  plan->peak_memory_bytes += states_bytes(source_->spec(), options_.windows);
  recipe.plan = std::move(*plan);

  QuantizeOptions run;
  run.output = packed_folder(recipe);
  run.device = options_.device;
  auto inputs = text_inputs(recipe.recipe);
  if (!inputs) return std::move(inputs).error();
  run.inputs = std::move(*inputs);
  auto digest = run_digest_of(source_->checkpoint(), *recipe.plan, run);
  if (!digest) return std::move(digest).error();
  recipe.run = std::move(*digest);

  if (!options_.restart) {
    auto stored =
        read_stored_comparison(files(), stored_comparison_path(options_.output, recipe.folder));
    if (!stored) return std::move(stored).error();
    if (*stored && (*stored)->run == recipe.run) recipe.stored = **stored;
    recipe.measured = recipe.stored.windows_sha256 == windows_sha256_;
    if (recipe.measured) return {};
    const auto completed = completed_run(files(), run.output);
    if (!completed) return completed.error();
    const bool journalled = files().exists(run.output / kJournalName);
    recipe.packed = *completed == recipe.run && !journalled;
    if (recipe.packed) return {};
    if (!completed->empty() && !journalled) return holds_other_result(run.output);
  }
  print_notices(recipe.plan->notices, recipe.name + ": ");
  if (Status feasible = check_feasible(*recipe.plan, files(), run.output); !feasible) {
    return feasible;
  }
  // A file that is too short is found now; sampling is work and waits.
  if (!recipe.recipe.needs_calibration() || options_.calibration->sampled()) return {};
  const auto text = calibration(recipe);
  if (!text) return text.error();
  return {};
}

Result<Journal::Inputs> Comparison::text_inputs(const Recipe& recipe) const {
  if (!recipe.needs_calibration()) return Journal::Inputs{};
  if (!options_.calibration) {
    return usage_error("quantize/no-calibration-text",
                       "learns from text; give --calib FILE or --calib self");
  }
  return calibration_inputs(*options_.calibration, recipe.calibration);
}

Result<const CalibrationText*> Comparison::calibration(const ComparedRecipe& recipe) {
  const CalibrationSpec& spec = recipe.recipe.calibration;
  const bool needed = recipe.recipe.needs_calibration();
  const std::string key =
      needed ? fmt::format("{} {} {} {}", spec.windows, spec.length, spec.validation_windows,
                           options_.calibration->sampled() ? spec.seed : 0)
             : "none";
  const auto known = texts_.find(key);
  if (known != texts_.end()) return &known->second;
  CalibrationText text;
  if (needed) {
    auto made = calibration_text(options_.model, *options_.calibration, spec);
    if (!made) return std::move(made).error();
    text = std::move(*made);
  }
  print_notices(text.notices, recipe.name + ": ");
  return &texts_.emplace(key, std::move(text)).first->second;
}

Status Comparison::run() {
  for (ComparedRecipe& recipe : recipes_) {
    if (recipe.error) continue;
    Status done;
    if (!recipe.measured && !recipe.packed) done = quantize(recipe);
    if (done && !recipe.measured && !source_pass_) {
      if (Status passed = pass_source(); !passed) return passed;
    }
    if (done && !recipe.measured) done = measure(recipe);
    if (done && !options_.keep_packed) done = discard_packed(recipe);
    if (done) continue;
    if (ends_all(done.error())) return done;
    fail(recipe, std::move(done).error());
  }
  return {};
}

Status Comparison::quantize(ComparedRecipe& recipe) {
  const auto text = calibration(recipe);
  if (!text) return text.error();
  QuantizeOptions options;
  options.output = packed_folder(recipe);
  options.device = options_.device;
  options.offload_dir = options_.offload_dir;
  options.restart = options_.restart;
  options.inputs = (*text)->inputs;
  const bool resumed = !options_.restart && files().exists(options.output / kJournalName);
  const auto report = [&] {
    Progress progress("quantize " + recipe.name, kProgressSteps);
    options.on_progress = [&](double fraction, const std::string& detail) {
      progress.update(std::llround(fraction * static_cast<double>(kProgressSteps)), detail);
    };
    return run_quantize(source_->checkpoint(), *recipe.plan, (*text)->windows, options);
  }();
  if (!report) return report.error();
  for (const BlockReport& block : report->blocks) {
    print_notices(block.notices, fmt::format("{}: block {}: ", recipe.name, block.index));
  }
  recipe.packed = true;
  recipe.stored = {};
  recipe.stored.run = recipe.run;
  recipe.stored.quantize_seconds = report->seconds;
  recipe.stored.resumed = resumed;
  return store(recipe);
}

Status Comparison::pass_source() {
  std::optional<Progress> line;
  auto pass = pass_reference(*source_, options_.windows, progress_line(line, "evaluate source"));
  if (!pass) return std::move(pass).error();
  source_pass_ = std::move(*pass);
  return {};
}

Status Comparison::measure(ComparedRecipe& recipe) {
  const auto model = ReferenceModel::open(files(), packed_folder(recipe));
  if (!model) return model.error();
  const auto evaluation = [&] {
    std::optional<Progress> line;
    return evaluate(*model, *source_pass_, options_.windows,
                    progress_line(line, "evaluate " + recipe.name),
                    model->kv_cache().value_or(KvType::f32));
  }();
  if (!evaluation) return evaluation.error();
  const auto bytes = weight_bytes(model->checkpoint());
  if (!bytes) return bytes.error();
  recipe.stored.run = recipe.run;
  recipe.stored.weight_bytes = *bytes;
  recipe.stored.windows_sha256 = windows_sha256_;
  recipe.stored.evaluation = *evaluation;
  if (Status stored = store(recipe); !stored) return stored;
  recipe.measured = true;
  return {};
}

Status Comparison::discard_packed(const ComparedRecipe& recipe) const {
  const auto completed = completed_run(files(), packed_folder(recipe));
  if (!completed) return completed.error();
  return *completed == recipe.run ? discard_completed(files(), packed_folder(recipe)) : Status();
}

Status Comparison::store(const ComparedRecipe& recipe) const {
  return write_stored_comparison(files(), stored_comparison_path(options_.output, recipe.folder),
                                 recipe.stored);
}

Result<ComparisonSource> Comparison::source() const {
  ComparisonSource source;
  const auto bits = bits_per_weight(*source_);
  if (!bits) return bits.error();
  source.bits = *bits;
  const auto bytes = weight_bytes(source_->checkpoint());
  if (!bytes) return bytes.error();
  source.weight_bytes = *bytes;
  for (const ComparedRecipe& recipe : recipes_) {
    if (recipe.measured) source.perplexity = recipe.stored.evaluation.reference_perplexity;
  }
  return source;
}

}  // namespace lowbit
