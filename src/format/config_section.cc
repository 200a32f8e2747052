#include "format/config_section.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace lowbit {

Error bad_config(std::string_view where, std::string_view message) {
  return bad_input("packed/bad-config", fmt::format("config.json: {}: {}", where, message));
}

Error unsupported(std::string_view where, std::string_view message) {
  return bad_input("packed/unsupported-method", fmt::format("config.json: {}: {}", where, message));
}

Result<Section> Section::of(const OrderedJson& json, std::string where,
                            std::span<const std::string_view> known) {
  if (!json.is_object()) return bad_config(where, "is no object");
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return bad_config(where,
                        fmt::format("unknown key '{}'; known: {}", key, fmt::join(known, ", ")));
    }
  }
  return Section(json, std::move(where));
}

std::string Section::where(std::string_view key) const { return fmt::format("{}.{}", where_, key); }

const OrderedJson* Section::find(std::string_view key) const {
  const auto found = json_->find(key);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> Section::text(std::string_view key, std::string_view otherwise) const {
  const OrderedJson* found = find(key);
  if (found == nullptr) return std::string(otherwise);
  if (!found->is_string()) return bad_config(where(key), "is no text: " + shown(*found));
  return found->get<std::string>();
}

Result<bool> Section::boolean(std::string_view key, bool otherwise) const {
  const OrderedJson* found = find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean()) return bad_config(where(key), "is no boolean: " + shown(*found));
  return found->get<bool>();
}

Result<std::int64_t> Section::integer(std::string_view key, std::int64_t otherwise) const {
  constexpr std::int32_t kLargest = 1 << 30;
  const OrderedJson* found = find(key);
  if (found == nullptr) return otherwise;
  // An unsigned number past the signed range would wrap in a signed comparison.
  const bool huge = found->is_number_unsigned() && found->get<std::uint64_t>() > kLargest;
  if (!found->is_number_integer() || huge || std::abs(found->get<double>()) > kLargest) {
    return bad_config(where(key), "is no integer within 2^30: " + shown(*found));
  }
  return found->get<std::int64_t>();
}

Result<double> Section::number(std::string_view key, double otherwise) const {
  const OrderedJson* found = find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_number()) return bad_config(where(key), "is no number: " + shown(*found));
  return found->get<double>();
}

Result<std::vector<std::string>> Section::texts(std::string_view key) const {
  std::vector<std::string> result;
  const OrderedJson* found = find(key);
  if (found == nullptr) return result;
  if (!found->is_array()) return bad_config(where(key), "is no list: " + shown(*found));
  for (const OrderedJson& item : *found) {
    if (!item.is_string()) return bad_config(where(key), "holds no text: " + shown(item));
    result.push_back(item.get<std::string>());
  }
  return result;
}

Status Section::refuse(std::string_view key, std::string_view reason) const {
  const OrderedJson* found = find(key);
  if (found == nullptr || (found->is_structured() && found->empty()) || *found == false) return {};
  return unsupported(where(key), fmt::format("{}: {}", reason, shown(*found)));
}

std::string Section::shown(const OrderedJson& json) {
  constexpr std::size_t kLongest = 120;
  std::string text = json.dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

}  // namespace lowbit
