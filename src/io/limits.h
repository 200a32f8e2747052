// What readers of files from outside accept at most. A file past a limit is refused by name; none
// of these is reached by a real model.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lowbit {

inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // as safetensors has it
inline constexpr std::size_t kMaxTensorsInFile = 500'000;
inline constexpr std::size_t kMaxTensorDimensions = 16;

inline constexpr std::size_t kMaxJsonDepth = 64;          // nested objects and arrays
inline constexpr std::size_t kMaxJsonValues = 8'000'000;  // a tokenizer of 500,000 merges has 2 M

inline constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{16} << 20;
inline constexpr std::uint64_t kMaxCheckpointIndexBytes = std::uint64_t{64} << 20;
inline constexpr std::uint64_t kMaxTokenizerBytes = std::uint64_t{256} << 20;
inline constexpr std::uint64_t kMaxJournalBytes = std::uint64_t{256} << 20;

}  // namespace lowbit
