// JSON from outside: parsed with limits, duplicate keys refused.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.h"

namespace lowbit {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // keeps the order of keys: for files that we rewrite

// Errors: json/{syntax (with the byte), number (too large for a double), duplicate-key, depth,
// too-large, no-memory}. The text must be UTF-8. Limits are in io/limits.h.
Result<Json> parse_json(std::string_view text);
Result<OrderedJson> parse_ordered_json(std::string_view text);

}  // namespace lowbit
