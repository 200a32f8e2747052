#include "text/token_trie.h"

namespace lowbit {
namespace {

std::uint64_t edge(std::int32_t node, unsigned char byte) {
  return std::uint64_t{static_cast<std::uint32_t>(node)} << 8 | byte;
}

}  // namespace

void TokenTrie::add(std::string_view text, std::int32_t value) {
  if (text.empty()) return;  // would match everywhere
  std::int32_t node = kNone;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    std::int32_t next = child(node, byte);
    if (next == kNone) {
      next = static_cast<std::int32_t>(values_.size());
      values_.push_back(kNone);
      if (node == kNone) {
        first_[byte] = next;
      } else {
        children_.emplace(edge(node, byte), next);
      }
    }
    node = next;
  }
  values_[static_cast<std::size_t>(node)] = value;
}

TokenTrie::Match TokenTrie::longest_at(std::string_view text, std::size_t at) const {
  Match longest;
  std::int32_t node = kNone;
  for (std::size_t end = at; end < text.size(); ++end) {
    node = child(node, static_cast<unsigned char>(text[end]));
    if (node == kNone) break;
    const std::int32_t value = values_[static_cast<std::size_t>(node)];
    if (value != kNone) longest = {value, end + 1 - at};
  }
  return longest;
}

// The root, which is no node of its own, is kNone.
std::int32_t TokenTrie::child(std::int32_t node, unsigned char byte) const {
  if (node == kNone) return first_[byte];
  const auto found = children_.find(edge(node, byte));
  return found == children_.end() ? kNone : found->second;
}

}  // namespace lowbit
