#include "model/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

constexpr std::size_t kMaxShownValue = 80;  // characters of a value that a message repeats

// The value as an integer; nothing when it is none or does not fit.
std::optional<std::int64_t> integer(const OrderedJson& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  return std::nullopt;
}

}  // namespace

ConfigReader::ConfigReader(const OrderedJson& object, std::string place)
    : object_(&object), place_(std::move(place)) {
  if (!object.is_object()) fail(bad_input("model/bad-value", place_ + ": expected a JSON object"));
}

const OrderedJson* ConfigReader::find(std::string_view key) const {
  if (!object_->is_object()) return nullptr;
  const auto at = object_->find(std::string(key));
  return at == object_->end() ? nullptr : &*at;
}

bool ConfigReader::has(std::string_view key) const { return find(key) != nullptr; }

bool ConfigReader::has_value(std::string_view key) const {
  const OrderedJson* value = find(key);
  return value != nullptr && !value->is_null();
}

std::string ConfigReader::found(std::string_view key) const {
  const OrderedJson* value = find(key);
  if (value == nullptr) return "nothing";
  // Text from outside may be no valid UTF-8: replaced, not thrown on.
  std::string text = value->dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  if (text.size() > kMaxShownValue) text = text.substr(0, kMaxShownValue) + "...";
  return text;
}

void ConfigReader::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

void ConfigReader::bad_value(std::string_view key, const std::string& expected) {
  fail(bad_input("model/bad-value",
                 fmt::format("{}: '{}' is {}, expected {}; correct the file or fetch it again",
                             place_, key, found(key), expected)));
}

void ConfigReader::unsupported(std::string_view key, const std::string& supported) {
  fail(bad_input("model/unsupported-option", fmt::format("{}: '{}' is {}, supported is only {}",
                                                         place_, key, found(key), supported)));
}

Status ConfigReader::status() const {
  if (error_) return *error_;
  return {};
}

std::int64_t ConfigReader::count(std::string_view key, std::int64_t limit) {
  if (!has_value(key)) {
    fail(bad_input("model/missing-key",
                   fmt::format("{}: key '{}' is missing, expected an integer from 1 to {}", place_,
                               key, limit)));
    return 1;
  }
  const std::optional<std::int64_t> value = integer(*find(key));
  if (!value || *value < 1 || *value > limit) {
    bad_value(key, fmt::format("an integer from 1 to {}", limit));
    return 1;
  }
  return *value;
}

std::int64_t ConfigReader::count_or(std::string_view key, std::int64_t limit,
                                    std::int64_t fallback) {
  return has_value(key) ? count(key, limit) : fallback;
}

double ConfigReader::positive(std::string_view key, double limit) {
  if (!has_value(key)) {
    fail(bad_input("model/missing-key",
                   fmt::format("{}: key '{}' is missing, expected a number", place_, key)));
    return 1.0;
  }
  const OrderedJson& value = *find(key);
  const double number = value.is_number() ? value.get<double>() : 0.0;
  if (!std::isfinite(number) || number <= 0.0 || number > limit) {
    bad_value(key, fmt::format("a number above 0, at most {:g}", limit));
    return 1.0;
  }
  return number;
}

double ConfigReader::positive_or(std::string_view key, double limit, double fallback) {
  return has_value(key) ? positive(key, limit) : fallback;
}

bool ConfigReader::flag_or(std::string_view key, bool fallback) {
  if (!has_value(key)) return fallback;
  const OrderedJson& value = *find(key);
  if (!value.is_boolean()) {
    bad_value(key, "true or false");
    return fallback;
  }
  return value.get<bool>();
}

std::string ConfigReader::text_or(std::string_view key, std::string_view fallback) {
  if (!has_value(key)) return std::string(fallback);
  const OrderedJson& value = *find(key);
  if (!value.is_string()) {
    bad_value(key, "a string");
    return std::string(fallback);
  }
  return value.get<std::string>();
}

void ConfigReader::expect_flag(std::string_view key, bool expected, bool fallback) {
  if (flag_or(key, fallback) != expected) unsupported(key, expected ? "true" : "false");
}

void ConfigReader::expect_text(std::string_view key, const std::vector<std::string_view>& allowed,
                               std::string_view fallback) {
  const std::string text = text_or(key, fallback);
  if (std::find(allowed.begin(), allowed.end(), text) != allowed.end()) return;
  unsupported(key, fmt::format("'{}'", fmt::join(allowed, "', '")));
}

void ConfigReader::expect_layer_types(std::string_view expected) {
  constexpr std::string_view kKey = "layer_types";
  if (!has_value(kKey)) return;
  const OrderedJson& value = *find(kKey);
  if (!value.is_array()) return bad_value(kKey, "a list");
  for (const OrderedJson& entry : value) {
    if (!entry.is_string() || entry.get_ref<const std::string&>() != expected) {
      return unsupported(kKey, fmt::format("'{}' for every layer", expected));
    }
  }
}

std::vector<std::int64_t> ConfigReader::tokens_or(std::string_view key, std::int64_t vocabulary,
                                                  std::optional<std::int64_t> fallback) {
  const OrderedJson* value = find(key);
  std::vector<std::int64_t> tokens;
  if (value == nullptr) {
    // A default of the family need not exist in a small vocabulary.
    if (fallback && *fallback < vocabulary) tokens.push_back(*fallback);
    return tokens;
  }
  if (value->is_null()) return tokens;
  const auto add = [&](const OrderedJson& entry) {
    const std::optional<std::int64_t> id = integer(entry);
    if (!id || *id < 0 || *id >= vocabulary) {
      return bad_value(key, fmt::format("token ids from 0 to {}", vocabulary - 1));
    }
    tokens.push_back(*id);
  };
  if (value->is_array()) {
    for (const OrderedJson& entry : *value) add(entry);
  } else {
    add(*value);
  }
  return tokens;
}

const OrderedJson* ConfigReader::object_at(std::string_view key) {
  if (!has_value(key)) return nullptr;
  const OrderedJson* value = find(key);
  if (!value->is_object()) {
    bad_value(key, "an object");
    return nullptr;
  }
  return value;
}

}  // namespace lowbit
