// GPT-2's alphabet: each byte stands as one printable character, so that any text is a string of
// characters that the vocabulary has.
#pragma once

#include <string>
#include <string_view>

namespace lowbit {

void append_as_characters(std::string_view bytes, std::string& out);

// The bytes that a token's characters stand for; a token with any other character is its own
// text, as in the Hugging Face library.
void append_as_bytes(std::string_view token, std::string& out);

}  // namespace lowbit
