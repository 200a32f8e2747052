// Outlier channels among the inputs of linears, as `analyze` shows them.
#pragma once

#include <string>
#include <vector>

#include "io/json.h"
#include "runtime/input_ranges.h"

namespace lowbit {

struct Outliers {
  float largest = 0;                  // |x| over all channels
  float median = 0;                   // over channels, of each channel's largest |x|
  double ratio = 0;                   // largest / median; 0 when the median is 0
  std::vector<std::size_t> channels;  // the kShown channels with the largest |x|, largest first

  static constexpr std::size_t kShown = 5;
};
Outliers outliers_of(const InputRange& range);

std::string outliers_table(const std::vector<InputRange>& ranges);
OrderedJson outliers_json(const std::vector<InputRange>& ranges);  // with every channel

}  // namespace lowbit
