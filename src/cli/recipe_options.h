// The options by which `plan` and `quantize` choose a recipe and change it.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "recipe/recipe.h"

namespace lowbit {

struct RecipeOptions {
  std::string recipe;  // a built-in name or a file
  std::string scheme;  // "W4A4": its default recipe
  std::vector<std::string> assignments;
  std::optional<std::int64_t> windows, length, seed;

  void declare(CLI::App& app);
  Result<Recipe> load() const;
};

}  // namespace lowbit
