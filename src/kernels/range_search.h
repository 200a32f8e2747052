// The scale and zero point of each group that lose least under an importance per input: a search
// over shrunken ranges and neighbouring zero points. Serial over the given groups.
#pragma once

#include <cstdint>

#include "format/scale.h"
#include "kernels/fake_quant.h"

namespace lowbit {

struct RangeSearch {
  FakeQuantGroups groups = {};
  std::int64_t groups_per_row = 1;
  // Scales from the largest to the smallest of these shares of the full range's are tried.
  float largest_share = 1;
  float smallest_share = 0.6F;
  float step = 0.01F;
  int zero_reach = 1;     // zero points tried beside the full range's; symmetric grids: 0
  ScaleGrid scales = {};  // of a value format: each scale is moved onto it, the full range's too
};

// For groups [begin, end) of `weight`: scale and zero hold the full range's values on entry (zero
// integral) and the best ones on return: least sum importance_j (w'_j - w_j)^2 over scale * r and
// zero + {-reach .. reach} within the codes. Ties keep what comes first, the full range before all.
void search_range(const RangeSearch& how, std::int64_t begin, std::int64_t end,
                  const float* weight,      // [rows, groups_per_row * group_size]
                  const float* importance,  // [groups_per_row * group_size]
                  float* scale, float* zero);

}  // namespace lowbit
