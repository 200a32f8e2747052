// Finds the longest of many texts that starts at a place.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lowbit {

class TokenTrie {
 public:
  static constexpr std::int32_t kNone = -1;
  struct Match {
    std::int32_t value = kNone;  // of the text found
    std::size_t size = 0;        // its bytes
  };

  TokenTrie() { first_.fill(kNone); }
  void add(std::string_view text, std::int32_t value);  // the last of equal texts counts
  Match longest_at(std::string_view text, std::size_t at) const;

 private:
  std::int32_t child(std::int32_t node, unsigned char byte) const;

  std::array<std::int32_t, 256> first_;                       // most places of a text start nothing
  std::unordered_map<std::uint64_t, std::int32_t> children_;  // by node and byte
  std::vector<std::int32_t> values_;                          // of each node
};

}  // namespace lowbit
