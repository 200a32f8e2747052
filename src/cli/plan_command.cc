// lowbit plan: what a recipe would make of a model, and what that takes, before any work.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/printable.h"
#include "cli/recipe_options.h"
#include "cli/table.h"
#include "format/value_grid.h"
#include "recipe/plan.h"

namespace lowbit {
namespace {

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

// What a linear consists of besides its codes, in the words of docs/design.md.
std::string parts(const LinearSpec& linear, const LinearScheme& scheme) {
  if (!scheme.weight.quantized()) return "float";
  std::string text = describe(scheme);
  if (linear.bias) text += ", bias";
  return text;
}

// A line for each block and kind of linear: every linear is named once.
std::string linears_table(const Plan& plan) {
  Table lines({{"block", Align::right}, {"kind"}, {"linears"}, {"parts"}});
  for (std::size_t index = 0; index < plan.blocks.size(); ++index) {
    const PlannedBlock& block = plan.blocks[index];
    std::vector<std::pair<std::string, std::vector<std::string>>> by_parts;
    for (const PlannedLinear& planned : block.linears) {
      const std::string what = parts(planned.linear, planned.scheme);
      if (by_parts.empty() || by_parts.back().first != what)
        by_parts.emplace_back(what, std::vector<std::string>{});
      by_parts.back().second.push_back(last_part(planned.linear.name));
    }
    for (const auto& [what, linears] : by_parts) {
      lines.add({std::to_string(index), std::string(name(block.sensitivity)),
                 fmt::format("{}", fmt::join(linears, " ")), what});
    }
  }
  for (const PlannedTable& table : plan.tables) {
    lines.add(
        {"", "table", last_part(table.linear.name),
         fmt::format("{}, {}", parts(table.linear, table.scheme), size_text(table.stored_bytes))});
  }
  return lines.render();
}

OrderedJson linear_json(const LinearSpec& linear, const LinearScheme& scheme) {
  const WeightScheme& weight = scheme.weight;
  const ActivationScheme& activation = scheme.activation;
  OrderedJson json = {{"name", linear.name},
                      {"out", linear.out},
                      {"in", linear.in},
                      {"bias", linear.bias},
                      {"bits", weight.bits}};
  if (!weight.quantized()) return json;
  json["group_size"] = weight.group_size;
  json["symmetric"] = weight.symmetric;
  if (const ValueFormat* values = value_format(weight.format)) json["format"] = values->name;
  if (scheme.low_rank.any()) json["rank"] = scheme.low_rank.rank;
  json["activation_bits"] = activation.bits;
  if (!activation.quantized()) return json;
  if (const ValueFormat* values = value_format(activation.format)) {
    json["activation_format"] = values->name;
  }
  const bool grouped = activation.per == ActivationGranularity::token_group;
  json["activation_group_size"] = grouped ? activation.group_size : 0;
  json["activation_symmetric"] = activation.symmetric;
  json["activation_clip"] = activation.clip;
  return json;
}

OrderedJson plan_json(const Plan& plan) {
  OrderedJson blocks = OrderedJson::array();
  for (const PlannedBlock& block : plan.blocks) {
    OrderedJson linears = OrderedJson::array();
    for (const PlannedLinear& planned : block.linears) {
      linears.push_back(linear_json(planned.linear, planned.scheme));
    }
    blocks.push_back({{"sensitivity", name(block.sensitivity)}, {"linears", linears}});
  }
  OrderedJson tables = OrderedJson::array();
  for (const PlannedTable& table : plan.tables) {
    tables.push_back(linear_json(table.linear, table.scheme));
    tables.back()["stored_bytes"] = table.stored_bytes;
  }
  return {{"recipe", plan.recipe.name},
          {"recipe_toml", to_toml(plan.recipe)},
          {"architecture", plan.model.architecture},
          {"kv_cache", name_of(plan.recipe.kv_cache)},
          {"bits_per_weight", number_or_null(plan.bits_per_weight)},
          {"output_bytes", plan.output_bytes},
          {"peak_memory_bytes", plan.peak_memory_bytes},
          {"scratch_disk_bytes", plan.scratch_disk_bytes},
          {"seconds", number_or_null(plan.seconds)},
          {"notices", plan.notices},
          {"blocks", blocks},
          {"tables", tables}};
}

void print_plan(const Plan& plan) {
  fmt::print("{}\n", linears_table(plan));
  for (const std::string& notice : plan.notices) fmt::print("note: {}\n", printable(notice));
  fmt::print("recipe           {}\n", printable(plan.recipe.name));
  fmt::print("bits per weight  {:.3f}\n", plan.bits_per_weight);
  fmt::print("keys and values  {}\n", name_of(plan.recipe.kv_cache));
  fmt::print("output           {}\n", size_text(plan.output_bytes));
  fmt::print("peak memory      {} (estimate; mapped weights not counted)\n",
             size_text(plan.peak_memory_bytes));
  fmt::print("scratch disk     {}\n", size_text(plan.scratch_disk_bytes));
  fmt::print("time             {} (rough estimate)\n", duration_text(plan.seconds));
}

class PlanCommand : public Command {
 public:
  std::string name() const override { return "plan"; }
  std::string purpose() const override {
    return "Show what a recipe makes of a model, and what it takes";
  }

  void declare(CLI::App& app) override {
    app.add_option("MODEL", model_, "Model folder")->required();
    recipe_.declare(app);
    app.add_option("-o,--output", output_, "Output folder, whose disk is looked at")
        ->default_str("the current folder");
    app.add_option("--offload-dir", offload_, "Plan with calibration streams on disk");
    json_.declare(app);
    app.footer(
        "Example:\n  lowbit plan models/tiny-llama --recipe paper/frm-w4a4 --set learn.epochs=2");
  }

  Status run() override {
    const Result<Recipe> recipe = recipe_.load();
    if (!recipe) return recipe.error();
    FileSystem& files = real_file_system();
    const Result<Checkpoint> checkpoint = Checkpoint::open(files, model_);
    if (!checkpoint) return checkpoint.error();
    const Result<Plan> plan =
        make_plan(*checkpoint, *recipe, {.streams_on_disk = !offload_.empty()});
    if (!plan) return plan.error();
    if (!json_.replaces_table()) print_plan(*plan);
    const Status written = json_.write(plan_json(*plan));
    if (!written) return written;
    // Last, so that the plan that cannot run is there to be read.
    const Path output = output_.empty() ? Path("lowbit-output-not-there-yet") : Path(output_);
    return check_feasible(*plan, files, output);
  }

 private:
  std::string model_, output_, offload_;
  RecipeOptions recipe_;
  JsonOutput json_;
};

}  // namespace

std::unique_ptr<Command> make_plan_command() { return std::make_unique<PlanCommand>(); }

}  // namespace lowbit
