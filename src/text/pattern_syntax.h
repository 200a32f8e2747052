// From Oniguruma's regular expressions (Ruby syntax) to PCRE2's.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace lowbit {

// What means something else in PCRE2 is rewritten (\s, \w, \h, \uHHHH, (?m)) or refused
// (intersections and nested classes, \Q, verbs).
Result<std::string> pcre2_syntax(std::string_view source);

}  // namespace lowbit
