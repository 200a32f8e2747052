// The bytes of a safetensors file from a header as text, right or wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lowbit::testing {

inline std::string length_bytes(std::uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 0xff);
  return bytes;
}

inline std::string safetensors_bytes(std::string_view header, std::string_view data = {}) {
  return length_bytes(header.size()) + std::string(header) + std::string(data);
}

}  // namespace lowbit::testing
