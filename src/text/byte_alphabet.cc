#include "text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace lowbit {
namespace {

// Printable bytes of Latin-1 stand for themselves, the others for 256, 257, ... in order.
constexpr std::size_t kAlphabetEnd = 256 + 68;

struct Alphabet {
  std::array<std::string, 256> character;
  std::array<std::int16_t, kAlphabetEnd> byte;  // -1 where the code point is not in the alphabet
};

bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  unsigned next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const unsigned point = stands_for_itself(byte) ? byte : next++;
    append_utf8(alphabet.character[byte], point);
    alphabet.byte[point] = static_cast<std::int16_t>(byte);
  }
  return alphabet;
}

const Alphabet& alphabet() {
  static const Alphabet kAlphabet = make_alphabet();
  return kAlphabet;
}

}  // namespace

void append_as_characters(std::string_view bytes, std::string& out) {
  const Alphabet& known = alphabet();
  for (const char byte : bytes) out += known.character[static_cast<unsigned char>(byte)];
}

void append_as_bytes(std::string_view token, std::string& out) {
  const Alphabet& known = alphabet();
  const std::size_t before = out.size();
  for (std::size_t at = 0; at < token.size();) {
    const CodePoint point = code_point_at(token, at);
    at += point.size;
    if (point.value >= kAlphabetEnd || known.byte[point.value] < 0) {
      out.resize(before);
      out += token;
      return;
    }
    out.push_back(static_cast<char>(known.byte[point.value]));
  }
}

}  // namespace lowbit
