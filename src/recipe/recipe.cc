#include "recipe/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "recipe/built_in_recipes.h"
#include "recipe/recipe_keys.h"

namespace lowbit {
namespace {

constexpr std::uint64_t kRecipeLimitBytes = 1 << 20;
constexpr std::array<std::string_view, 3> kPresets = {"light", "default", "best"};

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return text;
}

template <typename Owner>
std::string key_lines(const std::vector<RecipeKey<Owner>>& keys, const Owner& owner) {
  std::string lines;
  for (const RecipeKey<Owner>& key : keys) {
    lines += fmt::format("{} = {}\n", key.key, to_toml(key.get(owner)));
  }
  return lines;
}

}  // namespace

Result<Recipe> load_recipe(FileSystem& files, const std::string& name_or_path) {
  if (name_or_path.ends_with(".toml")) {
    const Result<std::string> text = files.read(name_or_path, kRecipeLimitBytes);
    if (!text) return text.error();
    return parse_recipe(*text, name_or_path);
  }
  for (const BuiltInRecipe& recipe : built_in_recipe_texts()) {
    if (recipe.name == name_or_path) return parse_recipe(recipe.toml, std::string(recipe.name));
  }
  return usage_error(
      "recipe/unknown",
      fmt::format("unknown recipe '{}'; expected a path that ends in .toml or one of {}",
                  name_or_path, fmt::join(built_in_recipes(), ", ")));
}

std::string to_toml(const Recipe& recipe) {
  std::string text = key_lines(recipe_keys(), recipe);
  for (const PassKind& kind : pass_kinds()) {
    const std::string head = fmt::format("\n[[pass]]\nuse = \"{}\"\n", kind.use());
    if (!kind.selected) {
      for (const LearnSpec& spec : recipe.learn) text += head + key_lines(learn_keys(), spec);
    } else if (kind.selected(recipe)) {
      text += head + key_lines(kind.keys, recipe);
    }
  }
  return text;
}

std::vector<std::string> built_in_recipes() {
  std::vector<std::string> names;
  for (const BuiltInRecipe& recipe : built_in_recipe_texts()) names.emplace_back(recipe.name);
  return names;
}

Result<std::string> preset_recipe(const std::string& scheme, const std::string& preset) {
  const std::string prefix = lower_case(preset) + "-";
  const std::string wanted = prefix + lower_case(scheme);
  std::vector<std::string> schemes;
  for (const std::string& name : built_in_recipes()) {
    if (name == wanted) return name;
    if (!name.starts_with(prefix)) continue;
    std::string known = name.substr(prefix.size());
    std::transform(known.begin(), known.end(), known.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::toupper(letter)); });
    schemes.push_back(known);
  }
  if (schemes.empty()) {
    return usage_error("recipe/unknown", fmt::format("unknown preset '{}'; there are {}", preset,
                                                     fmt::join(kPresets, ", ")));
  }
  return usage_error("recipe/unknown",
                     fmt::format("no {} recipe for scheme '{}'; there are {}", lower_case(preset),
                                 scheme, fmt::join(schemes, ", ")));
}

}  // namespace lowbit
