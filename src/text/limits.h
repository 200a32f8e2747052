// Limits on what a tokenizer.json, a text or a request may ask for; real ones stay far below them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace lowbit::tokenizer_limits {

constexpr std::uint64_t kFileBytes = 256u << 20;
constexpr std::int64_t kTokens = 4 << 20;  // ids are below this
constexpr std::size_t kParts = 64;         // members of one (nested) Sequence
constexpr std::size_t kPatternBytes = 16 << 10;
constexpr std::size_t kAddedTokenBytes = 512;  // each position of the text may look this far
constexpr std::size_t kStopStrings = 16;       // each byte of the text passes all of them
constexpr std::size_t kStopStringBytes = 1024;
constexpr std::size_t kChatMessages = 4096;
constexpr std::uint64_t kChatConfigBytes = 16u << 20;  // tokenizer_config.json, chat_template.jinja
constexpr std::size_t kTemplatePieces = 64;
constexpr std::size_t kTextBytes = 256u << 20;
constexpr std::size_t kGrownTextBytes = 768u
                                        << 20;  // a step may make 5 of each; offsets have 32 bits

// A chain of replacements could double the text 64 times; none needs more than this.
constexpr std::size_t kGrowth = 64;
constexpr std::size_t kGrowthFree = 1 << 20;  // bytes that any text may grow to
constexpr std::size_t grown_limit(std::size_t size) {
  return std::min(size * kGrowth + kGrowthFree, kGrownTextBytes);
}

constexpr std::uint32_t kMatchSteps = 2'000'000;  // backtracking of one match
constexpr std::size_t kMatchStarts = 64;          // start positions between two looks at the clock
constexpr int kMatchSeconds = 10;                 // one text under one foreign pattern

}  // namespace lowbit::tokenizer_limits
