// A float checkpoint with the same function as another and outliers in its activations, as large
// models have them and small ones do not: what methods for outliers can be tried on.
//
// In each block 1 % of the channels of both norms (at least 2) grow by a factor from 20 to 50 and
// the columns of the linears that read them shrink by it; 1 % of the rows of up_proj (at least 2)
// grow by 20 and the columns of down_proj shrink by it. Weights become float32, so that the
// function stays to float precision.
#pragma once

#include <cstdint>

#include "base/file.h"
#include "base/result.h"

namespace lowbit::test {

// Writes config.json, model.safetensors and the tokenizer's files; the same seed, the same bytes.
// Errors: outliers/{no-gate, packed} and those of the readers.
Status write_outlier_model(const Path& source, const Path& output, std::uint64_t seed);

}  // namespace lowbit::test
