// One decoder layer in memory, and its forward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "kernels/packed_weight.h"
#include "runtime/attention.h"
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
                               const QuantizationMap& quantization, std::int64_t index,
                               Residence residence = Residence::passing);

// Sees the input of linears as they run, once for linears that share it: q stands for q, k and v,
// up for gate and up.
using InputObserver = std::function<void(const LoadedLinear& linear, std::span<const float> x)>;

// Values between the stages of a block. Whoever runs blocks keeps them from one to the next: those
// of a prompt are many MB, and fresh memory is faulted in page by page. One call at a time.
struct BlockRows {
  AlignedVector<float> normed, part, q, k, v, mixed, gate, up;
};

// Replaces the hidden states by the block's output; keys and values go to the caches as block
// `index`, whose lengths the caller advances after the last block. `rotary` is null for models with
// learned positions.
void forward(const ModelSpec& model, const LoadedBlock& block, const RotaryTable* rotary,
             std::int64_t index, std::span<const SequenceRun> runs, BlockRows& rows,
             std::span<float> hidden,  // [tokens of all runs, hidden]
             const InputObserver& observe = {});

// One window by itself, from position 0 on. `pool` is for one block and has room for it.
Status forward_window(const ModelSpec& model, const LoadedBlock& block, const RotaryTable* rotary,
                      KvPool& pool, BlockRows& rows, std::span<float> hidden,
                      const InputObserver& observe = {});

}  // namespace lowbit
