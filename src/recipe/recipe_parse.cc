// Recipes from TOML text. toml++ stays in this file: it reads the text, flattens tables to dotted
// keys, and the tables of recipe_keys.h decide what each key may hold.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "recipe/recipe_keys.h"

namespace lowbit {
namespace {

std::string at_line(const std::string& source, const toml::node& node) {
  return fmt::format("{}:{}", source, node.source().begin.line);
}

template <typename Keys>
std::string key_list(const Keys& keys) {
  std::vector<std::string> names;
  for (const auto& key : keys) names.push_back(key.key);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::optional<RecipeValue> value_of(const toml::node& node) {
  if (const auto flag = node.value_exact<bool>()) return RecipeValue(*flag);
  if (const auto number = node.value_exact<std::int64_t>()) return RecipeValue(*number);
  if (const auto number = node.value_exact<double>()) return RecipeValue(*number);
  if (const auto text = node.value_exact<std::string>()) return RecipeValue(*text);
  const toml::array* array = node.as_array();
  if (array == nullptr) return std::nullopt;  // a date, a time
  std::vector<std::string> texts;
  for (const toml::node& item : *array) {
    const auto text = item.value_exact<std::string>();
    if (!text) return std::nullopt;
    texts.push_back(*text);
  }
  return RecipeValue(texts);
}

// The leaves of a table with their dotted keys. Depth is bounded by the parser's own limit.
void flatten(const toml::table& table, const std::string& prefix,
             std::map<std::string, const toml::node*>& leaves) {
  for (const auto& [key, node] : table) {
    const std::string path = prefix + std::string(key.str());
    if (const toml::table* below = node.as_table()) {
      flatten(*below, path + ".", leaves);
    } else {
      leaves[path] = &node;
    }
  }
}

template <typename Owner>
Status set_key(Owner& owner, const RecipeKey<Owner>& key, const toml::node& node,
               const std::string& place, const std::string& shown_key) {
  const std::optional<RecipeValue> value = value_of(node);
  if (value && key.set(owner, *value)) return {};
  const std::string found = value ? to_toml(*value) : "a value of another type";
  return usage_error("recipe/bad-value", fmt::format("{}: '{}' is {}, expected {}", place,
                                                     shown_key, found, key.allowed));
}

// Every leaf must be a key of the table; keys are set in the table's order.
template <typename Owner>
Status apply_keys(Owner& owner, const std::vector<RecipeKey<Owner>>& keys,
                  std::map<std::string, const toml::node*> leaves, const std::string& source) {
  for (const RecipeKey<Owner>& key : keys) {
    const auto found = leaves.find(key.key);
    if (found == leaves.end()) continue;
    const Status set =
        set_key(owner, key, *found->second, at_line(source, *found->second), key.key);
    if (!set) return set;
    leaves.erase(found);
  }
  if (leaves.empty()) return {};
  const auto& [unknown, node] = *leaves.begin();
  return usage_error(
      "recipe/unknown-key",
      fmt::format("{}: unknown key '{}'; the keys here are {}", at_line(source, *node), unknown,
                  keys.empty() ? "'use' alone" : key_list(keys)));
}

std::string pass_list() {
  std::vector<std::string> names;
  for (const PassKind& kind : pass_kinds()) names.push_back(kind.use());
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<const PassKind*> pass_of(const toml::table& table, const std::string& source) {
  const toml::node* use = table.get("use");
  const std::string place =
      at_line(source, use != nullptr ? *use : static_cast<const toml::node&>(table));
  if (use == nullptr) {
    return usage_error(
        "recipe/missing-key",
        fmt::format("{}: a pass has no 'use'; expected one of {}", place, pass_list()));
  }
  const std::string wanted = use->value_or(std::string("of another type than string"));
  const PassKind* kind = find_pass(wanted);
  if (kind == nullptr) {
    return usage_error("recipe/unknown-pass", fmt::format("{}: unknown pass '{}'; there are {}",
                                                          place, wanted, pass_list()));
  }
  return kind;
}

Status apply_pass(Recipe& recipe, const PassKind& kind, const toml::table& table,
                  const std::string& source) {
  std::map<std::string, const toml::node*> leaves;
  flatten(table, "", leaves);
  leaves.erase("use");
  kind.select(recipe);
  if (kind.stage == "learn") return apply_keys(recipe.learn.back(), learn_keys(), leaves, source);
  return apply_keys(recipe, kind.keys, leaves, source);
}

// Passes run in the order of their stages; a recipe that lists them otherwise would lie about it.
Status apply_passes(Recipe& recipe, const toml::array& passes, const std::string& source) {
  const std::vector<std::string_view> stages = pass_stages();
  std::size_t reached = 0;
  std::string_view last;
  for (const toml::node& node : passes) {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      return usage_error("recipe/bad-value",
                         fmt::format("{}: a pass is a table: [[pass]]", at_line(source, node)));
    }
    const Result<const PassKind*> kind = pass_of(*table, source);
    if (!kind) return kind.error();
    const std::string_view stage = (*kind)->stage;
    const auto position =
        static_cast<std::size_t>(std::find(stages.begin(), stages.end(), stage) - stages.begin());
    if (position < reached || (stage == last && stage != "learn")) {
      return usage_error(
          "recipe/bad-value",
          fmt::format("{}: pass '{}' after '{}'; expected at most one pass of each stage but "
                      "learn, in the order {}",
                      at_line(source, node), (*kind)->use(), last, fmt::join(stages, ", ")));
    }
    reached = position;
    last = stage;
    const Status applied = apply_pass(recipe, **kind, *table, source);
    if (!applied) return applied;
  }
  return {};
}

Result<toml::table> parse_toml(std::string_view text, const std::string& source) {
  toml::parse_result parsed = toml::parse(text, source);
  if (parsed) return std::move(parsed).table();
  const toml::parse_error& error = parsed.error();
  return usage_error("recipe/syntax", fmt::format("{}:{}: not TOML: {}", source,
                                                  error.source().begin.line, error.description()));
}

// The value of `--set KEY=VALUE`: TOML, or a bare word for a string.
Result<toml::table> parse_assigned(const std::string& text, const std::string& source) {
  toml::parse_result parsed = toml::parse("value = " + text);
  if (parsed && parsed.table().size() == 1) return std::move(parsed).table();
  const bool bare =
      !text.empty() && text.find_first_not_of(
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") ==
                           std::string::npos;
  if (bare) return toml::table{{"value", text}};
  return usage_error("recipe/syntax",
                     fmt::format("{}: '{}' is no TOML value; expected a number, true, "
                                 "false, a word or [\"a\", \"b\"]",
                                 source, text));
}

// Keys of passes as `--set` names them: "solve.damping". Kinds of one stage share theirs.
std::map<std::string, const RecipeKey<Recipe>*> pass_keys() {
  std::map<std::string, const RecipeKey<Recipe>*> keys;
  for (const PassKind& kind : pass_kinds()) {
    for (const RecipeKey<Recipe>& key : kind.keys) {
      keys.emplace(fmt::format("{}.{}", kind.stage, key.key), &key);
    }
  }
  return keys;
}

std::string assignable_keys() {
  std::vector<std::string> names;
  for (const auto& key : recipe_keys()) names.push_back(key.key);
  for (const auto& [name, key] : pass_keys()) names.push_back(name);
  for (const auto& key : learn_keys()) names.push_back("learn." + key.key);
  for (const std::string_view stage : pass_stages()) {
    if (stage != "learn") names.emplace_back(stage);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

// `--set range=mse-search`: another pass of the same stage.
Status select_pass(Recipe& recipe, const std::string& stage, const toml::node& node,
                   const std::string& source) {
  const std::string method = node.value_or(std::string());
  std::vector<std::string> methods;
  for (const PassKind& kind : pass_kinds()) {
    if (kind.stage != stage) continue;
    if (kind.method == method) {
      kind.select(recipe);
      return {};
    }
    methods.emplace_back(kind.method);
  }
  return usage_error("recipe/unknown-pass",
                     fmt::format("{}: expected one of {}", source, fmt::join(methods, ", ")));
}

Status set_learn_key(Recipe& recipe, const std::string& key, const toml::node& node,
                     const std::string& source) {
  for (const RecipeKey<LearnSpec>& known : learn_keys()) {
    if (known.key != key) continue;
    if (recipe.learn.empty()) {
      return usage_error("recipe/bad-value",
                         fmt::format("{}: recipe '{}' has no learn pass", source, recipe.name));
    }
    for (LearnSpec& spec : recipe.learn) {
      const Status set = set_key(spec, known, node, source, "learn." + key);
      if (!set) return set;
    }
    return {};
  }
  return usage_error(
      "recipe/unknown-key",
      fmt::format("{}: unknown key 'learn.{}'; the keys are {}", source, key, assignable_keys()));
}

}  // namespace

Result<Recipe> parse_recipe(std::string_view text, const std::string& source) {
  Result<toml::table> table = parse_toml(text, source);
  if (!table) return std::move(table).error();

  Recipe recipe;
  const toml::node* passes = table->get("pass");
  if (passes != nullptr && !passes->is_array()) {
    return usage_error("recipe/bad-value",
                       fmt::format("{}: 'pass' is not a list of tables; write [[pass]]",
                                   at_line(source, *passes)));
  }
  std::map<std::string, const toml::node*> leaves;
  flatten(*table, "", leaves);
  leaves.erase("pass");
  Status applied = apply_keys(recipe, recipe_keys(), leaves, source);
  if (!applied) return applied.error();
  for (const char* required : {"name", "scheme.weights.bits"}) {
    const bool implied = required == std::string_view("scheme.weights.bits") &&
                         recipe.weights.format != WeightFormat::integer;
    if (!leaves.contains(required) && !implied) {
      return usage_error("recipe/missing-key",
                         fmt::format("{}: key '{}' is missing", source, required));
    }
  }
  if (passes != nullptr) applied = apply_passes(recipe, *passes->as_array(), source);
  if (!applied) return applied.error();
  return recipe;
}

Status set_recipe_key(Recipe& recipe, const std::string& assignment) {
  const std::string source = "--set " + assignment;
  const std::size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    return usage_error("recipe/syntax",
                       fmt::format("{}: expected KEY=VALUE, e.g. learn.epochs=2", source));
  }
  const std::string key = assignment.substr(0, equals);
  const Result<toml::table> parsed = parse_assigned(assignment.substr(equals + 1), source);
  if (!parsed) return parsed.error();
  const toml::node& node = *parsed->get("value");

  const std::vector<std::string_view> stages = pass_stages();
  if (key != "learn" && std::find(stages.begin(), stages.end(), key) != stages.end()) {
    return select_pass(recipe, key, node, source);
  }
  if (key.starts_with("learn.")) return set_learn_key(recipe, key.substr(6), node, source);
  for (const RecipeKey<Recipe>& known : recipe_keys()) {
    if (known.key == key) return set_key(recipe, known, node, source, key);
  }
  const auto keys = pass_keys();
  if (const auto found = keys.find(key); found != keys.end()) {
    return set_key(recipe, *found->second, node, source, key);
  }
  return usage_error("recipe/unknown-key", fmt::format("{}: unknown key '{}'; the keys are {}",
                                                       source, key, assignable_keys()));
}

}  // namespace lowbit
