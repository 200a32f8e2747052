// Rotary position embedding: the pair (i, i + head_dim / 2) of each head turned by position *
// frequency.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model_spec.h"

namespace lowbit {

class RotaryTable {
 public:
  RotaryTable(const RopeSpec& rope, std::int64_t head_dim, std::int64_t positions);

  // Rows of consecutive positions from `first` on, each of whole heads.
  void turn(std::span<float> x, std::int64_t row_width, std::int64_t first) const;

 private:
  std::int64_t half_;
  std::int64_t positions_;
  std::vector<float> cosines_, sines_;  // [positions, half]
};

}  // namespace lowbit
