// Reading a part of tokenizer.json whose types cannot be trusted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/json.h"

namespace lowbit {

// Text of a single named part, so that messages say "pre_tokenizer 'Split'".
struct JsonPart {
  const Json* json = nullptr;  // an object with a string "type"
  std::string name;            // e.g. "pre_tokenizer 'Split'"
  std::string type;
};

Error syntax_error(const std::string& message);
// "{where} is not supported; supported: {list}".
Error unsupported(const std::string& what, std::string_view supported);

// A field of an object: absent and null give the fallback, another type is a syntax error.
Result<std::string> string_field(const JsonPart& part, const char* key, std::string_view fallback);
Result<bool> bool_field(const JsonPart& part, const char* key, bool fallback);
Result<std::int64_t> integer_field(const JsonPart& part, const char* key, std::int64_t fallback);
const Json* find_field(const Json& object, const char* key);  // nullptr if absent or null

// The parts of a component in order: itself, or the members of its (nested) Sequences under
// `members_key`. At most kParts of them; walked without recursion.
Result<std::vector<JsonPart>> parts_of(const Json& tokenizer, const char* component,
                                       const char* members_key);

}  // namespace lowbit
