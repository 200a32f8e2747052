// Text that a model samples by itself, many sequences at once, all blocks resident, with a key and
// value cache: for data-free calibration (`--calib self`), the demo's evaluation text, greedy
// checks.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/reference_model.h"

namespace lowbit {

struct SamplingOptions {
  std::int64_t sequences = 8;
  std::int64_t length = 512;  // tokens of each, the prompt counted
  double temperature = 1.0;   // 0: greedy
  std::int64_t top_k = 0;     // 0: all
  std::uint64_t seed = 42;    // the same seed, the same text
  // Of every sequence; empty: BOS, or a random token where there is none.
  std::vector<TokenId> prompt = {};
};

Result<std::vector<std::vector<TokenId>>> generate(const ReferenceModel& model,
                                                   const SamplingOptions& options,
                                                   const ReferenceModel::Progress& on_token);

}  // namespace lowbit
