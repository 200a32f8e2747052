#include "format/target_writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>

namespace lowbit {
namespace {

// "model.layers.12.mlp.up_proj" as "model.layers", "12", "mlp.up_proj".
struct NumberedName {
  std::string prefix, number, suffix;
};

std::optional<NumberedName> split(const std::string& name) {
  for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    const std::size_t end = name.find('.', dot + 1);
    if (end == std::string::npos) return std::nullopt;
    const std::string part = name.substr(dot + 1, end - dot - 1);
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos) {
      return NumberedName{name.substr(0, dot), part, name.substr(end + 1)};
    }
  }
  return std::nullopt;
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '_')) result += '\\';
    result += c;
  }
  return result;
}

std::string alternatives(std::vector<std::string> parts) {
  for (std::string& part : parts) part = escaped(part);
  return parts.size() == 1 ? parts[0] : fmt::format("({})", fmt::join(parts, "|"));
}

}  // namespace

std::vector<std::string> compact_targets(const std::vector<std::string>& names) {
  std::vector<std::string> targets;
  // (prefix, suffix) -> numbers, then (prefix, numbers) -> suffixes: linears that are quantized in
  // the same blocks share a target. Both in the order of the names given.
  using Key = std::pair<std::string, std::string>;
  std::vector<std::pair<Key, std::vector<std::string>>> blocks_of_linear;
  for (const std::string& name : names) {
    const std::optional<NumberedName> parts = split(name);
    if (!parts) {
      targets.push_back(name);
      continue;
    }
    const Key key{parts->prefix, parts->suffix};
    auto known = std::find_if(blocks_of_linear.begin(), blocks_of_linear.end(),
                              [&](const auto& entry) { return entry.first == key; });
    if (known == blocks_of_linear.end()) known = blocks_of_linear.insert(known, {key, {}});
    known->second.push_back(parts->number);
  }
  std::vector<std::pair<std::pair<std::string, std::vector<std::string>>, std::vector<std::string>>>
      linears_of_blocks;
  for (const auto& [key, numbers] : blocks_of_linear) {
    const auto wanted = std::pair(key.first, numbers);
    auto known = std::find_if(linears_of_blocks.begin(), linears_of_blocks.end(),
                              [&](const auto& entry) { return entry.first == wanted; });
    if (known == linears_of_blocks.end()) known = linears_of_blocks.insert(known, {wanted, {}});
    known->second.push_back(key.second);
  }
  for (const auto& [blocks, suffixes] : linears_of_blocks) {
    targets.push_back(fmt::format("re:{}\\.{}\\.{}$", escaped(blocks.first),
                                  alternatives(blocks.second), alternatives(suffixes)));
  }
  return targets;
}

}  // namespace lowbit
