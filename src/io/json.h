// JSON from outside: parsed with limits, duplicate keys refused.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.h"

namespace lowbit {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // keeps the order of keys: for files that we rewrite

// Errors: "json/syntax" (with the byte), "json/duplicate-key", "json/depth". The text must be UTF-8.
Result<Json> parse_json(std::string_view text);
Result<OrderedJson> parse_ordered_json(std::string_view text);

}  // namespace lowbit
