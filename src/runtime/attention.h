// Causal attention with grouped key heads and an optional sliding window, softmax in float32.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "model/model_spec.h"
#include "runtime/reference_model.h"

namespace lowbit {

// Queries of consecutive positions, the last of which is the last that `cache` holds. Memory beside
// the arguments: a tile of [256, positions] a thread.
void attend(const ModelSpec& model, const KeyValues& cache,
            std::span<const float> queries,  // [tokens, heads * head_dim]
            std::span<float> out);           // [tokens, heads * head_dim]

}  // namespace lowbit
