// A packed checkpoint for tests: a float model folder rounded to nearest, each linear by its
// scheme.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "format/packed_checkpoint.h"

namespace lowbit {

using SchemeOf = std::function<LinearScheme(const std::string& linear)>;

// Min-max ranges, widened to contain 0; symmetric: max|w| / (2^(bits-1) - 1/2); value formats:
// max|w| over the largest value. `scale_type` is of integers.
GroupAffineWeight round_to_nearest(const std::vector<float>& weight, std::int64_t out,
                                   std::int64_t in, const WeightScheme& scheme, DType scale_type);

// Writes `out` (made if missing): config.json, model.safetensors. Also `decoded`: a safetensors
// file of the decoded weights in float32, named as in the source. `table_scheme_of` is asked for
// the embedding and an untied head; without it they stay as they are.
Status write_rtn_checkpoint(const Path& source, const Path& out, const Path& decoded,
                            const SchemeOf& scheme_of, const SchemeOf& table_scheme_of = {});

}  // namespace lowbit
