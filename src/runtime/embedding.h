// The two ends of a model: token ids to hidden states, hidden states to logits.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/reference_model.h"

namespace lowbit {

// "runtime/bad-token", "runtime/too-long".
Status check_tokens(const ModelSpec& model, std::span<const TokenId> tokens, std::int64_t first);

// Tokens at consecutive positions from `first` on. Errors as above.
Result<std::vector<float>> embed(const Checkpoint& checkpoint, const ModelSpec& model,
                                 std::span<const TokenId> tokens, std::int64_t first);

// Rows [begin, end) of the head, float32, [end - begin, hidden].
Result<std::vector<float>> head_rows(const Checkpoint& checkpoint, const ModelSpec& model,
                                     std::int64_t begin, std::int64_t end);

}  // namespace lowbit
