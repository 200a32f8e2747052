// The two ends of a model: token ids to hidden states, hidden states to logits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "format/packed_checkpoint.h"
#include "runtime/reference_model.h"

namespace lowbit {

// "runtime/bad-token", "runtime/too-long".
Status check_tokens(const ModelSpec& model, std::span<const TokenId> tokens, std::int64_t first);

// The embedding, float or packed, as it lies in the checkpoint: rows are decoded when they are
// asked for, because the whole table would be the largest thing in memory. Borrows the checkpoint
// and the description; several threads may read.
class TokenEmbedding {
 public:
  // "checkpoint/wrong-shape" and, of a packed table, the errors of packed_checkpoint.h.
  static Result<TokenEmbedding> open(const Checkpoint& checkpoint, const ModelSpec& model,
                                     const QuantizationMap& quantization);

  // [tokens, hidden] of tokens at consecutive positions from `first` on, learned positions added.
  // "runtime/bad-token", "runtime/too-long"; a row that is damaged: "checkpoint/non-finite" or
  // "packed/bad-scale".
  Result<std::vector<float>> rows(std::span<const TokenId> tokens, std::int64_t first) const;

 private:
  TokenEmbedding(const Checkpoint& checkpoint, const ModelSpec& model)
      : checkpoint_(&checkpoint), model_(&model) {}
  Status add_positions(std::int64_t first, std::int64_t tokens, std::span<float> hidden) const;

  const Checkpoint* checkpoint_;
  const ModelSpec* model_;
  std::optional<PackedRows> packed_;
};

// The head, [vocabulary, hidden], whole. Tied: the embedding's table.
Result<LoadedLinear> load_head(const Checkpoint& checkpoint, const ModelSpec& model,
                               const QuantizationMap& quantization,
                               Residence residence = Residence::passing);

// The error of a float table that has not the shape of the model's; nothing is decoded.
Status check_table(const Checkpoint& checkpoint, const ModelSpec& model, const std::string& module);

}  // namespace lowbit
