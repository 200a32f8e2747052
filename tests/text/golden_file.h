// Texts with the ids and decoded texts that the Hugging Face library gives them.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "io/json.h"
#include "text/tokenizer.h"

namespace lowbit::testing {

inline std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Every row {"text", "ids", "ids_with_special", "decoded"}, decoded with special tokens.
inline void expect_golden(const Tokenizer& tokenizer, const Json& rows) {
  ASSERT_FALSE(rows.empty());
  for (const Json& row : rows) {
    const auto text = row.at("text").get<std::string>();
    SCOPED_TRACE(row.at("text").dump());
    const auto ids = tokenizer.encode(text).value();
    EXPECT_EQ(ids, row.at("ids").get<std::vector<TokenId>>());
    EXPECT_EQ(tokenizer.encode(text, SpecialTokens::add).value(),
              row.at("ids_with_special").get<std::vector<TokenId>>());
    EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::no).value(), row.at("decoded").get<std::string>());
    if (row.contains("decoded_without_special")) {
      EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::yes).value(),
                row.at("decoded_without_special").get<std::string>());
    }
  }
}

}  // namespace lowbit::testing
