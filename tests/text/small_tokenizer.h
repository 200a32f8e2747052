// A tokenizer.json small enough to read in a test, with parts to exchange.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/json.h"
#include "text/tokenizer.h"

namespace lowbit::testing {

// Letters a, b, c, space and "ab", "abc" by merging; no other parts.
inline Json small_tokenizer_json() {
  return Json{{"model",
               {{"type", "BPE"},
                {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}, {" ", 3}, {"ab", 4}, {"abc", 5}}},
                {"merges", {"a b", "ab c"}}}}};
}

inline Tokenizer tokenizer_of(const Json& json) {
  auto tokenizer = Tokenizer::parse(json.dump());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return std::move(tokenizer).value();
}

inline std::vector<TokenId> ids_of(const Json& json, std::string_view text) {
  return tokenizer_of(json).encode(text).value();
}

inline std::string code_of(const Json& json) {
  const auto tokenizer = Tokenizer::parse(json.dump());
  return tokenizer.ok() ? "" : tokenizer.error().code;
}

}  // namespace lowbit::testing
