// What must hold of streams of any tokenizer.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "text/golden_file.h"
#include "text/text_stream.h"
#include "text/utf8.h"

namespace lowbit::testing {

// All pieces of the ids; each must be whole characters.
inline std::string streamed(TextStream& stream, const std::vector<TokenId>& ids) {
  std::string all;
  const auto take = [&all](const Result<std::string>& piece) {
    ASSERT_TRUE(piece.ok()) << piece.error().message;
    ASSERT_EQ(invalid_utf8_at(*piece), std::string::npos);
    all += *piece;
  };
  for (const TokenId id : ids) take(stream.add(id));
  take(stream.finish());
  return all;
}

inline void expect_streams_as_decoded(const Tokenizer& tokenizer, int rounds = 200) {
  const auto check = [&](const std::vector<TokenId>& ids) {
    const auto whole = tokenizer.decode(ids);
    if (!whole) return;  // a hole in the vocabulary
    TextStream stream = TextStream::start(tokenizer).value();
    ASSERT_EQ(streamed(stream, ids), *whole);
  };
  for (const char* text :
       {"", " ", "  two  spaces  ", "plain text", "\U0001F600\U0001F468\u200D\U0001F469 emoji",
        "\u65E5\u672C\u8A9E\u306E\u6587\u7AE0\u3002", "e\u0301 \u00E9 \uFFFD \u2581 \u2581x\n\n"}) {
    const auto ids = tokenizer.encode(text);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    check(*ids);
    for (std::size_t cut = 0; cut < ids->size(); ++cut) check({ids->begin(), ids->begin() + cut});
  }
  std::mt19937 random(7);
  for (int round = 0; round < rounds; ++round) {
    std::vector<TokenId> ids(random() % 40);
    for (TokenId& id : ids) {
      id = static_cast<TokenId>(random() % static_cast<unsigned>(tokenizer.vocabulary_size()));
    }
    check(ids);
  }
}

}  // namespace lowbit::testing
