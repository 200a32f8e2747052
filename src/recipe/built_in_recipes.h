// The recipe files that are compiled into the program; the definition is generated from recipes/.
#pragma once

#include <span>
#include <string_view>

namespace lowbit {

struct BuiltInRecipe {
  std::string_view name;  // "paper/frm-w4a4"
  std::string_view toml;
};
std::span<const BuiltInRecipe> built_in_recipe_texts();  // in the order of recipes/CMakeLists' list

}  // namespace lowbit
