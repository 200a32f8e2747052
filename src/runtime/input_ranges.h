// How large the inputs of each linear get, channel by channel, over a text: where the outliers are
// that make activations hard to quantize.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "runtime/reference_model.h"

namespace lowbit {

struct InputRange {
  std::vector<std::string> linears;  // that share this input: q, k and v; gate and up
  std::vector<float> channel_max;    // largest |x|, [in]
};

// In the order of blocks, four a block: of q, k, v; of o; of [gate,] up; of down.
Result<std::vector<InputRange>> input_ranges(const ReferenceModel& model,
                                             std::span<const std::vector<TokenId>> windows,
                                             const ReferenceModel::Progress& on_window);

}  // namespace lowbit
