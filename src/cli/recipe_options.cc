#include "cli/recipe_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/file.h"

namespace lowbit {

void RecipeChanges::declare(CLI::App& app) {
  app.add_option("--set", assignments,
                 "Change a key of the recipe, e.g. learn.epochs=2 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--nsamples", windows, "Calibration windows (calibration.windows)");
  app.add_option("--seqlen", length, "Tokens of a calibration window (calibration.length)");
  app.add_option("--seed", seed, "Seed of all that is random (calibration.seed)");
}

Status RecipeChanges::apply(Recipe& recipe) const {
  std::vector<std::string> changes = assignments;
  if (windows) changes.push_back(fmt::format("calibration.windows={}", *windows));
  if (length) changes.push_back(fmt::format("calibration.length={}", *length));
  if (seed) changes.push_back(fmt::format("calibration.seed={}", *seed));
  for (const std::string& change : changes) {
    const Status set = set_recipe_key(recipe, change);
    if (!set) return set;
  }
  return {};
}

void RecipeOptions::declare(CLI::App& app) {
  CLI::Option* by_name = app.add_option(
      "--recipe", recipe,
      fmt::format("A recipe file (.toml), or one of: {}", fmt::join(built_in_recipes(), ", ")));
  CLI::Option* by_scheme = app.add_option(
      "--scheme", scheme, "The preset's recipe for a scheme: W4A16, W4A4, W3A3, ...");
  by_scheme->excludes(by_name);
  app.add_option("--preset", preset,
                 "light: no gradients, minutes; default: trains every block; best: for longer")
      ->needs(by_scheme)
      ->capture_default_str();
  changes.declare(app);
}

Result<Recipe> RecipeOptions::load() const {
  std::string wanted = recipe;
  if (!scheme.empty()) {
    Result<std::string> by_scheme = preset_recipe(scheme, preset);
    if (!by_scheme) return std::move(by_scheme).error();
    wanted = *by_scheme;
  }
  if (wanted.empty()) {
    return usage_error("cli/usage", "no recipe; give --recipe NAME|FILE or --scheme, e.g. W4A4");
  }
  Result<Recipe> loaded = load_recipe(real_file_system(), wanted);
  if (!loaded) return loaded;

  const Status changed = changes.apply(*loaded);
  if (!changed) return changed.error();
  return loaded;
}

}  // namespace lowbit
