// How sensitive each block is to quantization, from its weights alone (FRM-PTQ, sensitivity split).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "model/model_spec.h"

namespace lowbit {

enum class Sensitivity { robust, moderate, sensitive };
std::string_view name(Sensitivity sensitivity);

// Biased Fisher excess kurtosis m4 / m2^2 - 3 of the values; 0 when they are all equal.
double excess_kurtosis(std::span<const float> values);

struct LinearStatistics {
  std::string name;
  double kurtosis = 0;
  float min = 0;
  float max = 0;
};

struct BlockStatistics {
  double kurtosis = 0;  // mean over its linears
  std::vector<LinearStatistics> linears;
};

// "model/already-quantized": the weights of this checkpoint are packed; its source is wanted
// instead.
Status check_float_weights(const Checkpoint& checkpoint);

// One linear at a time in memory. Errors of check_float_weights and of Checkpoint.
Result<std::vector<BlockStatistics>> weight_statistics(const Checkpoint& checkpoint,
                                                       const ModelSpec& model);

// The published split: of L blocks sorted by kurtosis, the lowest r are robust and the highest 4r/3
// sensitive, r = floor(0.2 L) lowered to a multiple of 3. For L < 15 that selects none; our rule
// there: r = s = floor(L / 8), at least 1 when L >= 4. Of blocks with equal kurtosis the lower
// index counts as the lower.
std::vector<Sensitivity> split_by_sensitivity(std::span<const double> kurtosis);

}  // namespace lowbit
