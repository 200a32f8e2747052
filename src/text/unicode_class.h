// What kind of character a code point is, as the Hugging Face tokenizers see it: their regular
// expressions and their Rust code follow newer Unicode versions than PCRE2 and utf8proc of a
// stable system, and a single differing character is a wrong token.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lowbit {

namespace char_class {
constexpr std::uint8_t kLetter = 1;        // \p{L}
constexpr std::uint8_t kNumber = 2;        // \p{N}
constexpr std::uint8_t kSpace = 4;         // \s, White_Space
constexpr std::uint8_t kWord = 8;          // \w of Rust's regex
constexpr std::uint8_t kNumeric = 16;      // Rust's char::is_numeric
constexpr std::uint8_t kPunctuation = 32;  // ASCII punctuation or \p{P}
}  // namespace char_class

// The classes of a code point, or-ed.
std::uint8_t classes_of(char32_t point);
bool is_of_class(char32_t point, std::uint8_t classes);

// Where the code points change class: the first code point of a run times 64, plus its classes.
extern const std::array<std::uint32_t, 2151> kClassRuns;

}  // namespace lowbit
