// Values of a normal distribution of mean 0 and deviation 1, the same for a seed.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace lowbit {

inline std::vector<float> normal_values(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace lowbit
