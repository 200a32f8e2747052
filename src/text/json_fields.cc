#include "text/json_fields.h"

#include <fmt/format.h>

#include "text/limits.h"

namespace lowbit {
namespace {

Error wrong_type(const JsonPart& part, const char* key, const Json& found, const char* expected) {
  return syntax_error(fmt::format("{}: \"{}\" is a {}, expected a {}", part.name, key,
                                  found.type_name(), expected));
}

Result<JsonPart> named_part(const Json& json, const char* component) {
  if (!json.is_object()) {
    return syntax_error(
        fmt::format("{}: found a {}, expected an object", component, json.type_name()));
  }
  const auto type = json.find("type");
  if (type == json.end() || !type->is_string()) {
    return syntax_error(fmt::format("{}: has no \"type\" string", component));
  }
  const auto& name = type->get_ref<const std::string&>();
  return JsonPart{&json, fmt::format("{} '{}'", component, name.substr(0, 80)), name};
}

}  // namespace

Error syntax_error(const std::string& message) { return bad_input("tokenizer/syntax", message); }

Error unsupported(const std::string& what, std::string_view supported) {
  return bad_input("tokenizer/unsupported",
                   fmt::format("{} is not supported; supported: {}", what, supported));
}

const Json* find_field(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> string_field(const JsonPart& part, const char* key, std::string_view fallback) {
  const Json* found = find_field(*part.json, key);
  if (found == nullptr) return std::string(fallback);
  if (!found->is_string()) return wrong_type(part, key, *found, "string");
  return found->get<std::string>();
}

Result<bool> bool_field(const JsonPart& part, const char* key, bool fallback) {
  const Json* found = find_field(*part.json, key);
  if (found == nullptr) return fallback;
  if (!found->is_boolean()) return wrong_type(part, key, *found, "boolean");
  return found->get<bool>();
}

Result<std::int64_t> integer_field(const JsonPart& part, const char* key, std::int64_t fallback) {
  const Json* found = find_field(*part.json, key);
  if (found == nullptr) return fallback;
  const bool fits = found->is_number_integer() &&
                    (!found->is_number_unsigned() ||
                     found->get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX));
  if (!fits) return wrong_type(part, key, *found, "whole number");
  return found->get<std::int64_t>();
}

Result<std::vector<JsonPart>> parts_of(const Json& tokenizer, const char* component,
                                       const char* members_key) {
  std::vector<JsonPart> parts;
  std::vector<const Json*> pending;  // the next one last
  if (const Json* top = find_field(tokenizer, component)) pending.push_back(top);
  while (!pending.empty()) {
    const Json* json = pending.back();
    pending.pop_back();
    auto part = named_part(*json, component);
    if (!part) return std::move(part).error();
    if (part->type != "Sequence") {
      parts.push_back(*std::move(part));
      continue;
    }
    const Json* members = find_field(*json, members_key);
    if (members == nullptr || !members->is_array()) {
      return syntax_error(fmt::format("{}: has no array \"{}\"", part->name, members_key));
    }
    if (pending.size() + parts.size() + members->size() > tokenizer_limits::kParts) {
      return unsupported(
          fmt::format("{}: a chain of more than {} parts", component, tokenizer_limits::kParts),
          "shorter chains");
    }
    for (auto member = members->rbegin(); member != members->rend(); ++member) {
      pending.push_back(&*member);
    }
  }
  return parts;
}

}  // namespace lowbit
