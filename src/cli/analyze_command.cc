// lowbit analyze: how hard a model is to quantize. Kurtosis and ranges of its weights, the blocks
// that the published split calls sensitive or robust, and, with a text, the outliers among
// activations.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

#include "base/progress.h"
#include "cli/activation_outliers.h"
#include "cli/command.h"
#include "cli/model_folder.h"
#include "cli/output.h"
#include "cli/printable.h"
#include "cli/table.h"
#include "cli/text_windows.h"
#include "cli/threads_option.h"
#include "eval/evaluate.h"
#include "recipe/sensitivity.h"

namespace lowbit {
namespace {

std::vector<Sensitivity> split_of(const std::vector<BlockStatistics>& blocks) {
  std::vector<double> kurtosis;
  kurtosis.reserve(blocks.size());
  for (const BlockStatistics& block : blocks) kurtosis.push_back(block.kurtosis);
  return split_by_sensitivity(kurtosis);
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

std::string blocks_table(const std::vector<BlockStatistics>& blocks,
                         const std::vector<Sensitivity>& split) {
  Table table({{"block", Align::right}, {"kurtosis", Align::right}, {"kind"}});
  for (std::size_t index = 0; index < blocks.size(); ++index) {
    table.add({std::to_string(index), fmt::format("{:.4f}", blocks[index].kurtosis),
               std::string(name(split[index]))});
  }
  return table.render();
}

std::string linears_table(const std::vector<BlockStatistics>& blocks) {
  Table table({{"block", Align::right},
               {"linear"},
               {"kurtosis", Align::right},
               {"lowest weight", Align::right},
               {"highest", Align::right}});
  for (std::size_t index = 0; index < blocks.size(); ++index) {
    for (const LinearStatistics& linear : blocks[index].linears) {
      table.add({std::to_string(index), last_part(linear.name),
                 fmt::format("{:.4f}", linear.kurtosis), fmt::format("{:.4f}", linear.min),
                 fmt::format("{:.4f}", linear.max)});
    }
  }
  return table.render();
}

OrderedJson analysis_json(const std::vector<BlockStatistics>& blocks,
                          const std::vector<Sensitivity>& split) {
  OrderedJson list = OrderedJson::array();
  for (std::size_t index = 0; index < blocks.size(); ++index) {
    OrderedJson linears = OrderedJson::array();
    for (const LinearStatistics& linear : blocks[index].linears) {
      linears.push_back({{"name", linear.name},
                         {"kurtosis", linear.kurtosis},
                         {"min", linear.min},
                         {"max", linear.max}});
    }
    list.push_back({{"index", index},
                    {"kurtosis", blocks[index].kurtosis},
                    {"sensitivity", name(split[index])},
                    {"linears", linears}});
  }
  return list;
}

class AnalyzeCommand : public Command {
 public:
  std::string name() const override { return "analyze"; }
  std::string purpose() const override {
    return "Show which blocks and channels are hard to quantize";
  }

  void declare(CLI::App& app) override {
    app.add_option("MODEL", model_, "Model folder, float")->required();
    app.add_option("--text", text_, "Also look at activations: a text file, or self[:SEED]")
        ->type_name("FILE|self[:SEED]");
    app.add_option("--seqlen", options_.window_length, "Tokens of a window of the text")
        ->capture_default_str()
        ->check(CLI::Range(2, 1 << 20));
    app.add_option("--max-windows", options_.max_windows, "At most so many windows of the text")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 20));
    json_.declare(app);
    threads_.declare(app);
    app.footer(
        "Examples:\n"
        "  lowbit analyze models/tiny-llama\n"
        "  lowbit analyze models/tiny-llama --text self --json analysis.json");
  }

  Status run() override {
    threads_.apply();
    const Result<ModelFolder> model = open_model_folder(model_);
    if (!model) return model.error();
    const auto blocks = weight_statistics(model->checkpoint, model->spec);
    if (!blocks) return blocks.error();
    const std::vector<Sensitivity> split = split_of(*blocks);
    OrderedJson document = {{"architecture", model->spec.architecture},
                            {"blocks", analysis_json(*blocks, split)},
                            {"activations", nullptr}};
    if (!json_.replaces_table()) {
      fmt::print("{}, {} blocks, excess kurtosis of weights\n\n{}\n{}",
                 printable(model->spec.architecture), model->spec.blocks,
                 blocks_table(*blocks, split), linears_table(*blocks));
    }
    if (!text_.empty()) {
      const Result<std::vector<InputRange>> ranges = activation_ranges();
      if (!ranges) return ranges.error();
      document["activations"] = outliers_json(*ranges);
      if (!json_.replaces_table()) fmt::print("\n{}", outliers_table(*ranges));
    }
    return json_.write(document);
  }

 private:
  Result<std::vector<InputRange>> activation_ranges() const {
    const Result<TextChoice> choice = parse_text_choice(text_);
    if (!choice) return choice.error();
    const Result<ReferenceModel> model = ReferenceModel::open(real_file_system(), model_);
    if (!model) return model.error();
    EvaluationOptions options = options_;
    options.window_length = std::min(options.window_length, model->spec().max_positions);
    const auto windows = windows_of(*choice, options);
    if (!windows) return windows.error();
    std::optional<Progress> progress;
    return input_ranges(*model, *windows, [&](std::int64_t done, std::int64_t total) {
      if (!progress) progress.emplace("activations", total);
      progress->update(done);
    });
  }

  Result<std::vector<std::vector<TokenId>>> windows_of(const TextChoice& choice,
                                                       const EvaluationOptions& options) const {
    if (choice.sampled()) {
      return sample_windows(
          {model_, options.max_windows, options.window_length, choice.self_seed.value_or(1)},
          "sample text");
    }
    const Result<std::vector<TokenId>> tokens = file_tokens(model_, choice.file);
    if (!tokens) return tokens.error();
    auto windows = cut_windows(*tokens, options);
    if (!windows) return within(choice.file, std::move(windows).error());
    return windows;
  }

  std::string model_, text_;
  EvaluationOptions options_{.window_length = 512, .max_windows = 8};
  JsonOutput json_;
  ThreadsOption threads_;
};

}  // namespace

std::unique_ptr<Command> make_analyze_command() { return std::make_unique<AnalyzeCommand>(); }

}  // namespace lowbit
