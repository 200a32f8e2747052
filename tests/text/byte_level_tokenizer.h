// A byte-level tokenizer with the 256 bytes and three merges: encodes any text, loses nothing.
#pragma once

#include <string>

#include "io/json.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"

namespace lowbit::testing {

inline Json byte_level_json() {
  Json json = {{"model", {{"merges", {"a a", "aa a", "\u0120 a"}}}},
               {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
               {"decoder", {{"type", "ByteLevel"}}}};
  Json& vocabulary = json["model"]["vocab"];
  vocabulary = {{"aa", 256}, {"aaa", 257}, {"\u0120a", 258}};
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    append_as_characters(std::string(1, static_cast<char>(byte)), token);
    vocabulary[token] = byte;
  }
  return json;
}

inline Tokenizer byte_level_tokenizer() {
  return Tokenizer::parse(byte_level_json().dump()).value();
}

}  // namespace lowbit::testing
