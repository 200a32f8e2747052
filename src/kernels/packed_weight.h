// A group-affine weight laid out for the product kernels, and activations as they take them.
//
// Sixteen rows make a panel. A panel holds its groups one after the other; within a group, the
// codes of each row stand in 32-bit lanes of 64-byte vectors, lane r for row r:
//   8 bits: 4 inputs a lane, byte b of the lane is input b
//   4 bits: 8 inputs, plane j (bits 4j .. 4j+3 of each byte) holds inputs 4j + b
//   2 bits: 16 inputs, plane j (bits 2j, 2j+1) holds inputs 4j + b
//   3 bits: 32 inputs: two vectors as for 2 bits (the low two bits of inputs 0..15 and 16..31),
//   then
//           one with the high bits, plane j (bit j of each byte) for inputs 4j + b
// so that one shift and one mask give four unsigned bytes a lane, which is what integer dot
// products take. Codes of other widths are kept in the next wider one.
//
// A float weight of 16 bits is kept as it is, the values of 16 rows beside each other for each
// input, without scales and zeros; it has products with float activations alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "format/group_affine.h"
#include "format/packed_checkpoint.h"

namespace lowbit {

inline constexpr std::int64_t kPanelRows = 16;

void* allocate_lines(std::size_t bytes);
void free_lines(void* memory, std::size_t bytes);

// Memory for vectors of 64 bytes, in huge pages where it is large: a weight is read from end to
// end, and small pages cost a walk for each 4 KiB. resize() leaves new elements without a value.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  CacheLineAllocator() = default;
  template <typename U>
  CacheLineAllocator(const CacheLineAllocator<U>&) {}
  T* allocate(std::size_t count) { return static_cast<T*>(allocate_lines(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t count) { free_lines(memory, count * sizeof(T)); }
  template <typename U>
  void construct(U* at) {
    ::new (static_cast<void*>(at)) U;
  }
  template <typename U, typename... Values>
  void construct(U* at, Values&&... values) {
    ::new (static_cast<void*>(at)) U(std::forward<Values>(values)...);
  }
  bool operator==(const CacheLineAllocator&) const { return true; }
};
template <typename T>
using AlignedVector = std::vector<T, CacheLineAllocator<T>>;

struct PackedWeight {
  std::int64_t out = 0, in = 0, group_size = 0;
  int bits = 4;                       // of the layout: 2, 3, 4 or 8; 16: values of scale_type
  DType scale_type = DType::f16;      // f16, bf16 or f32
  AlignedVector<std::uint8_t> codes;  // [panels, groups, group_size * bits * 2]
  AlignedVector<std::byte> scales;    // [panels, groups, 16] in scale_type; 0 for rows past `out`
  AlignedVector<std::uint8_t> zeros;  // [panels, groups, 16]

  std::int64_t groups() const { return in / group_size; }
  std::int64_t panels() const { return (out + kPanelRows - 1) / kPanelRows; }
  std::int64_t group_bytes() const { return group_size * bits * kPanelRows / 8; }
  std::uint64_t bytes() const { return codes.size() + scales.size() + zeros.size(); }
};

// In groups of `group_size`, a divisor of the weight's, for activations in smaller groups: several
// then have the same scale and zero point. 0: the weight's. Nothing when a group is no multiple of
// four inputs: such a weight has the reference product alone; and for value formats
// (format/value_grid.h), which have no kernels yet.
std::optional<PackedWeight> arrange(const GroupAffineWeight& weight, std::int64_t group_size = 0);

// The same from the stored words. Those of 2, 3, 4 and 8 bits are turned into lanes as they are, at
// the memory's speed; others, and groups of odd sizes, are unpacked before.
std::optional<PackedWeight> arrange(const StoredGroupAffine& weight, std::int64_t group_size = 0);

// A float weight as a checkpoint stores it: `stored` is [out, in] of bf16 or f16, at any alignment.
PackedWeight arrange(std::span<const std::byte> stored, std::int64_t out, std::int64_t in,
                     DType type);

// A weight of this shape whose codes, scales and zeros are pseudo-random: for benchmarks.
PackedWeight random_packed_weight(std::int64_t out, std::int64_t in, WeightScheme scheme,
                                  std::uint64_t seed);

// Activations as signed bytes: centered code (code - zero) = codes + offset.
struct PackedActivations {
  std::int64_t tokens = 0, in = 0, group_size = 0;  // the weight's groups
  AlignedVector<std::int8_t> codes;                 // [tokens, in]
  AlignedVector<float> scales;                      // [tokens, groups]
  AlignedVector<std::int32_t> sums;                 // [tokens, groups], of stored codes
  AlignedVector<std::int32_t> offsets;              // [tokens, groups]
  bool any_offset = false;
  int largest = 128;  // no code is farther from zero

  std::int64_t groups() const { return in / group_size; }
};

// The codes of quantize_activations (format/group_affine.h), to the bit. `group_size`: the
// weight's; a scheme per token and group has the same one.
PackedActivations pack_activations(std::span<const float> x, std::int64_t in,
                                   std::int64_t group_size, const ActivationScheme& scheme);

// Float activations as three codes of 8 bits each: token t is rows 3t, 3t + 1 and 3t + 2, at 1, 256
// and 65536 times one scale for a group. Together they are integers of 24 bits, so that an element
// is off by at most 2^-24 of the largest of its group: no more than what a sum in float32 loses
// when that element joins it. A group that is not finite has NaN for its scale.
PackedActivations split_activations(std::span<const float> x, std::int64_t in,
                                    std::int64_t group_size);

}  // namespace lowbit
