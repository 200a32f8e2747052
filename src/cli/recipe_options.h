// The options by which `plan` and `quantize` choose a recipe and change it; `compare` changes
// several.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "recipe/recipe.h"

namespace lowbit {

// Keys of a recipe that the command line changes.
struct RecipeChanges {
  std::vector<std::string> assignments;
  std::optional<std::int64_t> windows, length, seed;

  void declare(CLI::App& app);
  Status apply(Recipe& recipe) const;
};

struct RecipeOptions {
  std::string recipe;  // a built-in name or a file
  std::string scheme;  // "W4A4": its recipe of the preset
  std::string preset = "default";
  RecipeChanges changes;

  void declare(CLI::App& app);
  Result<Recipe> load() const;
};

}  // namespace lowbit
