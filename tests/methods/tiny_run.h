// A whole run on a tiny model, by a recipe of a few lines.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "methods/quantize.h"
#include "recipe/recipe.h"
#include "support/faulty_file_system.h"
#include "support/temporary_folder.h"

namespace lowbit {

inline const Path kModels = Path(LOWBIT_SOURCE_DIR) / "tests/data/models";

inline constexpr const char* kRecipe = R"(
name = "test"
[scheme]
weights = { bits = 4, group_size = 16, symmetric = false }
activations = { bits = 4, per = "token-group", symmetric = false, dynamic = true }
[calibration]
windows = 3
length = 12
validation_windows = 1
[[pass]]
use = "range.min-max"
[[pass]]
use = "learn.block"
)";

inline CalibrationWindows random_windows(int seed) {
  CalibrationWindows windows;
  for (int w = 0; w < 4; ++w) {
    std::vector<TokenId> tokens;
    for (int t = 0; t < 12; ++t) tokens.push_back((seed * 31 + w * 17 + t * 7) % 90);
    (w < 3 ? windows.train : windows.validation).push_back(tokens);
  }
  return windows;
}

struct Run {
  std::vector<std::string> settings = {};  // --set
  std::string model = "llama2";
  int text_seed = 1;
  bool restart = false;
  bool learns = true;     // false: without the recipe's learn pass
  bool validates = true;  // false: no validation windows, so the training windows serve
};

inline Result<QuantizeReport> run(FileSystem& files, const Path& output, const Run& how = {}) {
  auto checkpoint = Checkpoint::open(files, kModels / how.model);
  if (!checkpoint) return checkpoint.error();
  auto recipe = parse_recipe(kRecipe, "test");
  if (!recipe) return recipe.error();
  for (const std::string& setting : how.settings) {
    if (auto status = set_recipe_key(*recipe, setting); !status) return status.error();
  }
  if (!how.learns) recipe->learn.clear();
  auto plan = make_plan(*checkpoint, *recipe, {});
  if (!plan) return plan.error();
  QuantizeOptions options;
  options.output = output;
  options.restart = how.restart;
  options.inputs = {{"calibration text", std::to_string(how.text_seed)}};
  CalibrationWindows windows = random_windows(how.text_seed);
  if (!how.validates) windows.validation.clear();
  return quantize(*checkpoint, *plan, windows, options);
}

using Folder = std::map<std::string, std::string>;

inline Folder contents(const Path& folder) {
  Folder result;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    result[entry.path().filename().string()] = bytes.str();
  }
  return result;
}

}  // namespace lowbit
