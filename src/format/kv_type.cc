#include "format/kv_type.h"

#include <algorithm>
#include <array>

namespace lowbit {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"f32", "f16", "int8", "int4"};

}  // namespace

std::string_view name_of(KvType type) { return kNames[static_cast<std::size_t>(type)]; }

std::optional<KvType> kv_type_named(std::string_view name) {
  const auto* const found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<KvType>(found - kNames.begin());
}

}  // namespace lowbit
