// The keys of a recipe, each once: the tables that parsing, `--set` and to_toml share. A new option
// is a member in recipe.h and one line in recipe_keys.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "recipe/recipe.h"

namespace lowbit {

using RecipeValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;

template <typename Owner>
struct RecipeKey {
  std::string key;      // dotted, below its table: "rate.scale"
  std::string allowed;  // for errors: "an integer from 0 to 1000"
  std::function<RecipeValue(const Owner&)> get;
  std::function<bool(Owner&, const RecipeValue&)> set;  // false: not allowed, nothing changed
};

// Keys outside of passes: name, scheme.*, calibration.*. Applied in this order.
const std::vector<RecipeKey<Recipe>>& recipe_keys();
// Keys of a learn pass, beside `use`.
const std::vector<RecipeKey<LearnSpec>>& learn_keys();

// What `use` may say. Passes stand in the order of their stages, one of each stage at most, but
// any number of learn passes. A pass that is not listed is the first of its stage.
struct PassKind {
  std::string_view stage;               // "range"
  std::string_view method;              // "min-max"
  std::function<void(Recipe&)> select;  // marks it in the recipe; a learn pass is appended
  std::function<bool(const Recipe&)> selected = {};  // empty: a learn pass
  std::vector<RecipeKey<Recipe>> keys = {};          // beside `use`; those of learn are above

  std::string use() const { return std::string(stage) + "." + std::string(method); }
};
const std::vector<PassKind>& pass_kinds();  // by stage
std::vector<std::string_view> pass_stages();
const PassKind* find_pass(std::string_view use);  // null when unknown

std::string to_toml(const RecipeValue& value);

}  // namespace lowbit
