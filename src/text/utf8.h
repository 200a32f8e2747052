// UTF-8: checking, walking, and repairing as Rust's from_utf8_lossy does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lowbit {

struct CodePoint {
  char32_t value = 0;
  std::uint32_t size = 1;  // bytes
};

// The code point that starts at `at`; `text` is valid UTF-8 and `at` a boundary before its end.
CodePoint code_point_at(std::string_view text, std::size_t at);
// The code point that ends at `end`, which is a boundary after the start.
CodePoint code_point_before(std::string_view text, std::size_t end);

// The offset of the first byte that is not valid UTF-8, or npos.
std::size_t invalid_utf8_at(std::string_view bytes);

void append_utf8(std::string& text, char32_t point);

// Where a character begins that more bytes may complete, or the size.
std::size_t unfinished_utf8_at(std::string_view bytes);

// Each longest beginning of a broken sequence becomes one U+FFFD.
std::string repaired_utf8(std::string_view bytes);

}  // namespace lowbit
