// One page of the key-value cache: keys and values of up to 64 consecutive positions of one key
// head in one block.
//
// Keys stand as columns, [head_dim, 64], so that one vector holds the same channel of sixteen
// positions and a score needs no sum across lanes; values stand as rows, [64, row]. Eight and four
// bits are asymmetric, per position and head: x = low + scale * code, scale and low in float16 (the
// cache of QoQ and QuaRot; kept simple so that a new position never touches an old one). At four
// bits, byte i of a column or row holds channels i (low half) and i + half.
//
// At four bits keys, and queries with them, are turned by a Hadamard matrix first (QuaRot, section
// 4.2): products stay what they are, and channels that are large everywhere, which keys have, no
// longer decide the scale alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/kv_type.h"

namespace lowbit {

inline constexpr std::int64_t kPagePositions = 64;

struct KvPage {
  KvType type = KvType::f16;
  std::int64_t head_dim = 0;

  std::int64_t row() const { return (head_dim + 15) / 16 * 16; }  // floats of a decoded value row
  std::int64_t bytes() const;                                     // a multiple of 64
};

// Writes one position, 0 .. 63. Infinite and NaN values stay what they are or become NaN.
void store_position(const KvPage& page, std::int64_t position,
                    const float* key,    // [head_dim]
                    const float* value,  // [head_dim]
                    std::byte* to);

struct KvTile {
  const float* keys = nullptr;    // [head_dim, 64]
  const float* values = nullptr;  // [64, row()]; nothing is said of what is behind head_dim
};
// The page as floats: in place where they are stored as such, else decoded into `scratch`, of
// tile_floats(page) floats. `page` is aligned to 64 bytes.
std::int64_t tile_floats(const KvPage& page);
KvTile load_page(const KvPage& page, const std::byte* from, float* scratch);

// x H / sqrt(n) in place, H the Walsh-Hadamard matrix of the largest power of two n that divides
// `count`, block by block. Orthogonal and its own inverse.
void hadamard(float* x, std::int64_t count);
inline bool turns_keys(KvType type) { return type == KvType::int4; }

}  // namespace lowbit
