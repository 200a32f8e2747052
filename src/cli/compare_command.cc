// lowbit compare: several recipes on one model, measured beside the source, in one table.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/calibration_part.h"
#include "cli/command.h"
#include "cli/comparison.h"
#include "cli/evaluation_json.h"
#include "cli/output.h"
#include "cli/recipe_options.h"
#include "cli/table.h"
#include "cli/threads_option.h"

namespace lowbit {
namespace {

constexpr const char* kFooter = R"(Examples:
  lowbit compare models/tiny-llama --recipes rtn-w4a4,frm-w4a4 --calib self --text test.txt
  lowbit compare models/tiny-llama --recipes rtn-w3a16,frm-w3a16 --recipes mine.toml \
    --calib text.txt --text test.txt --max-windows 32 -o out/compare --json result.json

The recipes run one after another, each with all threads; there are no parallel runs. The same
command goes on where it was stopped and repeats nothing that is done; a recipe added later costs
only itself and one pass of the source. A recipe that fails does not stop the others.)";

OrderedJson optional_number(const std::optional<double>& value) {
  return value ? number_or_null(*value) : OrderedJson(nullptr);
}

std::string seconds_text(const StoredComparison& stored) {
  if (!stored.quantize_seconds) return "-";
  return fmt::format("{}{:.1f}", stored.resumed ? "≥ " : "", *stored.quantize_seconds);
}

std::string kl_text(const Evaluation& measured) {
  if (!measured.kl) return "-";
  const std::string value = fmt::format("{:.5f}", *measured.kl);
  if (!measured.kl_standard_error) return value;
  return fmt::format("{} ± {:.5f}", value, *measured.kl_standard_error);
}

std::vector<std::string> row_of(const ComparedRecipe& recipe) {
  if (!recipe.measured) return {recipe.name, "-", "-", "-", "-", "-", "-"};
  const Evaluation& measured = recipe.stored.evaluation;
  return {recipe.name,
          fmt::format("{:.3f}", measured.bits_per_weight),
          fmt::format("{:.4f}", measured.perplexity),
          kl_text(measured),
          measured.top1_agreement ? fmt::format("{:.2f} %", 100 * *measured.top1_agreement) : "-",
          size_text(recipe.stored.weight_bytes),
          seconds_text(recipe.stored)};
}

// A last column tells the errors where there are any.
std::string comparison_table(const Comparison& comparison, const ComparisonSource& source) {
  const std::vector<ComparedRecipe>& recipes = comparison.recipes();
  const bool failed = std::any_of(recipes.begin(), recipes.end(), [](const ComparedRecipe& recipe) {
    return recipe.error.has_value();
  });
  std::vector<Column> columns = {{"recipe"},
                                 {"bits/weight", Align::right},
                                 {"perplexity", Align::right},
                                 {"KL (nats)", Align::right},
                                 {"top-1", Align::right},
                                 {"weights", Align::right},
                                 {"seconds", Align::right}};
  if (failed) columns.push_back({"error"});
  Table table(std::move(columns));
  const auto add = [&](std::vector<std::string> cells, const std::string& error) {
    if (failed) cells.push_back(error);
    table.add(std::move(cells));
  };
  add({"(source)", fmt::format("{:.3f}", source.bits.linears),
       source.perplexity ? fmt::format("{:.4f}", *source.perplexity) : "-", "-", "-",
       size_text(source.weight_bytes), "-"},
      "");
  for (const ComparedRecipe& recipe : recipes) {
    add(row_of(recipe), recipe.error ? recipe.error->code : "");
  }
  return table.render();
}

OrderedJson recipe_json(const ComparedRecipe& recipe, const Path& output) {
  OrderedJson json = {{"recipe", recipe.name},       {"folder", (output / recipe.folder).string()},
                      {"run", recipe.run},           {"weight_bytes", nullptr},
                      {"quantize_seconds", nullptr}, {"resumed", nullptr},
                      {"evaluation", nullptr},       {"error", nullptr}};
  if (recipe.measured) {
    json["weight_bytes"] = recipe.stored.weight_bytes;
    json["quantize_seconds"] = optional_number(recipe.stored.quantize_seconds);
    json["resumed"] = recipe.stored.resumed;
    json["evaluation"] = evaluation_json(recipe.stored.evaluation);
  }
  if (recipe.error) {
    json["error"] = {{"code", recipe.error->code}, {"message", recipe.error->message}};
  }
  return json;
}

class CompareCommand : public Command {
 public:
  std::string name() const override { return "compare"; }
  std::string purpose() const override {
    return "Quantize by several recipes and measure each against the source";
  }

  void declare(CLI::App& app) override {
    app.add_option("MODEL", model_, "Model folder")->required();
    app.add_option("--recipes", names_,
                   fmt::format("Recipe files (.toml) or names, separated by commas, repeatable: {}",
                               fmt::join(built_in_recipes(), ", ")))
        ->required()
        ->delimiter(',')
        ->allow_extra_args(false);
    changes_.declare(app);
    app.add_option("--calib", calibration_,
                   "Calibration text: a file, or self for text that the model samples")
        ->type_name("FILE|self");
    app.add_option("--text", text_,
                   "Text to measure on: a file, or self[:SEED] for text that the model samples")
        ->type_name("FILE|self[:SEED]")
        ->required();
    app.add_option("--window", measured_.window_length, "Tokens of a window to measure on")
        ->capture_default_str()
        ->check(CLI::Range(2, 1 << 20));
    app.add_option("--max-windows", measured_.max_windows,
                   fmt::format("Measure on at most so many windows; sampled text has {} else",
                               kSampledWindows))
        ->check(CLI::Range(1, 1 << 24));
    app.add_option(
           "-o,--output", output_,
           "Folder of the packed models and results; an unfinished comparison there goes on")
        ->default_str("compare-MODEL");
    app.add_flag("--keep,!--no-keep", keep_packed_,
                 "Keep the packed models, or remove each once it is measured")
        ->default_str("keep");
    app.add_flag("--restart", restart_, "Forget what is in the recipes' folders and begin again");
    app.add_option("--offload-dir", offload_,
                   "Keep the calibration streams in this folder, not in memory");
    app.add_option("--device", device_, "cpu, cuda or cuda:N")->capture_default_str();
    json_.declare(app);
    threads_.declare(app);
    app.footer(kFooter);
  }

  Status run() override {
    const Status available = calibration_available(device_);
    if (!available) return available;
    threads_.apply();
    auto recipes = load_recipes();
    if (!recipes) return std::move(recipes).error();
    auto options = comparison_options();
    if (!options) return std::move(options).error();
    auto comparison = Comparison::prepare(std::move(*options), std::move(*recipes));
    if (!comparison) return std::move(comparison).error();
    Status done = comparison->run();
    if (!done) return done;
    Status reported = report(*comparison);
    return reported ? failures(*comparison) : reported;
  }

 private:
  Result<std::vector<ComparedRecipe>> load_recipes() const {
    std::vector<ComparedRecipe> recipes;
    for (const std::string& name : names_) {
      auto recipe = load_recipe(real_file_system(), name);
      if (!recipe) return std::move(recipe).error();
      Status changed = changes_.apply(*recipe);
      if (!changed) return within(name, std::move(changed).error());
      const std::string folder = comparison_folder_name(name);
      for (const ComparedRecipe& other : recipes) {
        if (other.folder != folder) continue;
        return usage_error("compare/same-folder",
                           fmt::format("recipes {} and {} would both be in the folder '{}'; name "
                                       "one once, or give one file another name",
                                       other.name, name, folder));
      }
      if (recipe->needs_calibration() && calibration_.empty()) {
        return usage_error(
            "quantize/no-calibration-text",
            fmt::format("recipe {} learns from text; give --calib FILE or --calib self", name));
      }
      ComparedRecipe& added = recipes.emplace_back();
      added.name = name;
      added.folder = folder;
      added.recipe = std::move(*recipe);
    }
    return recipes;
  }

  Result<ComparisonOptions> comparison_options() const {
    ComparisonOptions options;
    options.model = model_;
    options.output = output_folder();
    options.device = device_;
    options.offload_dir = offload_;
    options.restart = restart_;
    options.keep_packed = keep_packed_;
    if (!calibration_.empty()) {
      auto choice = parse_text_choice(calibration_);
      if (!choice) return std::move(choice).error();
      options.calibration = std::move(*choice);
    }
    const auto choice = parse_text_choice(text_);
    if (!choice) return choice.error();
    if (Status fits = check_length(); !fits) return std::move(fits).error();
    auto windows = evaluation_windows(model_, model_, *choice, measured_);
    if (!windows) return std::move(windows).error();
    options.windows = std::move(*windows);
    return options;
  }

  Status check_length() const {
    const auto model = ReferenceModel::open(real_file_system(), model_);
    if (!model) return model.error();
    const std::int64_t positions = model->spec().max_positions;
    if (measured_.window_length <= positions) return {};
    return usage_error("eval/window-too-long",
                       fmt::format("windows of {} tokens and a model of {} positions; give a "
                                   "--window up to that",
                                   measured_.window_length, positions));
  }

  Path output_folder() const {
    if (!output_.empty()) return output_;
    Path model = Path(model_).lexically_normal();
    if (!model.has_filename()) model = model.parent_path();
    return "compare-" + model.filename().string();
  }

  Status report(const Comparison& comparison) const {
    const auto source = comparison.source();
    if (!source) return source.error();
    if (!json_.replaces_table()) fmt::print("{}", comparison_table(comparison, *source));
    OrderedJson recipes = OrderedJson::array();
    for (const ComparedRecipe& recipe : comparison.recipes()) {
      recipes.push_back(recipe_json(recipe, output_folder()));
    }
    return json_.write({{"model", model_},
                        {"text", text_},
                        {"windows_sha256", comparison.windows_sha256()},
                        {"windows", comparison.windows()},
                        {"window_length", measured_.window_length},
                        {"source",
                         {{"perplexity", optional_number(source->perplexity)},
                          {"bits_per_weight", number_or_null(source->bits.linears)},
                          {"model_bits_per_weight", number_or_null(source->bits.model)},
                          {"weight_bytes", source->weight_bytes}}},
                        {"recipes", std::move(recipes)}});
  }

  // The kind and code of the first recipe that failed; the messages were told when it happened.
  static Status failures(const Comparison& comparison) {
    std::vector<std::string> failed;
    const Error* first = nullptr;
    for (const ComparedRecipe& recipe : comparison.recipes()) {
      if (!recipe.error) continue;
      if (first == nullptr) first = &*recipe.error;
      failed.push_back(recipe.name);
    }
    if (first == nullptr) return {};
    return Error{first->kind, first->code,
                 fmt::format("{} of {} recipes failed: {}", failed.size(),
                             comparison.recipes().size(), fmt::join(failed, ", "))};
  }

  std::string model_, calibration_, text_, output_, offload_;
  std::vector<std::string> names_;
  EvaluationOptions measured_;
  bool keep_packed_ = true;
  bool restart_ = false;
  std::string device_ = "cpu";
  RecipeChanges changes_;
  JsonOutput json_;
  ThreadsOption threads_;
};

}  // namespace

std::unique_ptr<Command> make_compare_command() { return std::make_unique<CompareCommand>(); }

}  // namespace lowbit
