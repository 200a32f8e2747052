#include "text/utf8.h"

#include <algorithm>

namespace lowbit {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Sequence {
  std::size_t size = 0;  // bytes that belong together, at least 1
  bool valid = false;
};

bool in_range(std::string_view bytes, std::size_t at, unsigned low, unsigned high) {
  if (at >= bytes.size()) return false;
  const unsigned byte = static_cast<unsigned char>(bytes[at]);
  return byte >= low && byte <= high;
}

// Table 3-7 of the Unicode standard: the second byte's range depends on the first.
Sequence sequence_at(std::string_view bytes, std::size_t at) {
  const unsigned lead = static_cast<unsigned char>(bytes[at]);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const std::size_t wanted = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (!in_range(bytes, at + 1, low, high)) return {1, false};
  for (std::size_t size = 2; size < wanted; ++size) {
    if (!in_range(bytes, at + size, 0x80, 0xBF)) return {size, false};
  }
  return {wanted, true};
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 31) << 6 | (byte(1) & 63u), 2};
  if (lead < 0xF0) return {(lead & 15) << 12 | (byte(1) & 63u) << 6 | (byte(2) & 63u), 3};
  return {(lead & 7) << 18 | (byte(1) & 63u) << 12 | (byte(2) & 63u) << 6 | (byte(3) & 63u), 4};
}

CodePoint code_point_before(std::string_view text, std::size_t end) {
  std::size_t start = end - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return code_point_at(text, start);
}

std::size_t invalid_utf8_at(std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const Sequence sequence = sequence_at(bytes, at);
    if (!sequence.valid) return at;
    at += sequence.size;
  }
  return std::string_view::npos;
}

std::size_t unfinished_utf8_at(std::string_view bytes) {
  // No character is longer than four bytes, so it begins with one of the last three.
  const std::size_t first = bytes.size() - std::min<std::size_t>(bytes.size(), 3);
  for (std::size_t at = first; at < bytes.size(); ++at) {
    const unsigned lead = static_cast<unsigned char>(bytes[at]);
    if (lead < 0xC2 || lead > 0xF4) continue;
    const Sequence sequence = sequence_at(bytes, at);
    if (!sequence.valid && at + sequence.size == bytes.size()) return at;
  }
  return bytes.size();
}

void append_utf8(std::string& text, char32_t point) {
  const auto append = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (point < 0x80) {
    append(point);
  } else if (point < 0x800) {
    append(0xC0 | point >> 6);
    append(0x80 | (point & 63));
  } else if (point < 0x10000) {
    append(0xE0 | point >> 12);
    append(0x80 | (point >> 6 & 63));
    append(0x80 | (point & 63));
  } else {
    append(0xF0 | point >> 18);
    append(0x80 | (point >> 12 & 63));
    append(0x80 | (point >> 6 & 63));
    append(0x80 | (point & 63));
  }
}

std::string repaired_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const Sequence sequence = sequence_at(bytes, at);
    text += sequence.valid ? bytes.substr(at, sequence.size) : kReplacement;
    at += sequence.size;
  }
  return text;
}

}  // namespace lowbit
