// Text that a model samples, many sequences at once, all blocks resident, with a key and value
// cache: for `lowbit run`, data-free calibration (`--calib self`), the demo's evaluation text.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/reference_model.h"
#include "runtime/sampler.h"

namespace lowbit {

struct SamplingOptions {
  std::int64_t sequences = 8;
  std::int64_t length = 512;  // tokens of each, the prompt counted
  SamplingRule rule = {};
  std::uint64_t seed = 42;  // the same seed, the same text
  KvType kv = KvType::f32;  // as which keys and values are kept
  // Of every sequence; empty: BOS, or a random token where there is none.
  std::vector<TokenId> prompt = {};
  // Sees the next token of every sequence as soon as it is drawn; false ends the sampling there.
  std::function<bool(std::span<const TokenId> next)> on_next = {};
};

Result<std::vector<std::vector<TokenId>>> generate(const ReferenceModel& model,
                                                   const SamplingOptions& options,
                                                   const ReferenceModel::Progress& on_token);

}  // namespace lowbit
