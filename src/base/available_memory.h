// How much memory this program may still take.
#pragma once

#include <cstdint>
#include <optional>

#include "base/file.h"

namespace lowbit {

// The least of what the system and the control group allow; nothing where neither can be read.
std::optional<std::uint64_t> available_memory(FileSystem& files);

}  // namespace lowbit
