// One decoder layer in memory, and its forward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "runtime/linear.h"
#include "runtime/norm.h"
#include "runtime/reference_model.h"
#include "runtime/rotary.h"

namespace lowbit {

struct LoadedBlock {
  LoadedNorm attention_norm, ffn_norm;
  std::optional<LoadedNorm> q_norm, k_norm;
  LoadedLinear q, k, v, o;
  std::optional<LoadedLinear> gate;
  LoadedLinear up, down;
};

Result<LoadedBlock> load_block(const Checkpoint& checkpoint, const ModelSpec& model,
                               const QuantizationMap& quantization, std::int64_t index);

// Sees the input of linears as they run, once for linears that share it: q stands for q, k and v,
// up for gate and up.
using InputObserver = std::function<void(const LoadedLinear& linear, std::span<const float> x)>;

// Replaces the hidden states by the block's output and appends keys and values to the caches. Every
// sequence brings the same number of tokens, and all caches hold the same number of positions.
// `rotary` is null for models with learned positions.
void forward(const ModelSpec& model, const LoadedBlock& block, const RotaryTable* rotary,
             std::span<KeyValues> caches,  // one a sequence
             std::span<float> hidden,      // [sequences, tokens, hidden]
             const InputObserver& observe = {});

}  // namespace lowbit
