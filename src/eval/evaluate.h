// Perplexity, KL divergence and top-1 agreement over token windows.
//
// Perplexity: exp of the mean over windows of the mean negative log-likelihood of a window's
// length - 1 predictions (positions restart in each window, no BOS is added). KL: mean over the
// same positions of sum_v p (log p - log q), p the reference; nats. Sums in double.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/reference_model.h"

namespace lowbit {

struct EvaluationOptions {
  std::int64_t window_length = 2048;
  std::int64_t max_windows = 0;  // 0: all
};

struct Evaluation {
  double perplexity = 0;
  std::int64_t windows = 0;
  std::optional<double> kl;  // with a reference
  std::optional<double> kl_standard_error;
  std::optional<double> top1_agreement;  // share of positions, 0..1
  std::optional<double> reference_perplexity;
  double bits_per_weight = 0;        // of the block linears as stored
  double model_bits_per_weight = 0;  // of these, the embedding and the head
  double seconds = 0;
};

// Windows of a token stream, the remainder dropped. "eval/text-too-short" when there is none.
Result<std::vector<std::vector<TokenId>>> cut_windows(std::span<const TokenId> tokens,
                                                      const EvaluationOptions& options);

// Every token of the model attends to keys and values as a cache of type `kv` gives them back, its
// own window's prompt included; the reference's are float32.
Result<Evaluation> evaluate(const ReferenceModel& model, const ReferenceModel* reference,
                            std::span<const std::vector<TokenId>> windows,
                            const ReferenceModel::Progress& on_block, KvType kv = KvType::f32);

// A reference's pass through the windows, made once where several models are measured against it.
// Refers to the model; in memory: 4 bytes x hidden for each token.
struct ReferencePass {
  const ReferenceModel* model = nullptr;
  std::vector<std::vector<float>> states;  // final ones of each window, [tokens, hidden]
};
Result<ReferencePass> pass_reference(const ReferenceModel& reference,
                                     std::span<const std::vector<TokenId>> windows,
                                     const ReferenceModel::Progress& on_block);
// As above, with the pass of these windows.
Result<Evaluation> evaluate(const ReferenceModel& model, const ReferencePass& reference,
                            std::span<const std::vector<TokenId>> windows,
                            const ReferenceModel::Progress& on_block, KvType kv = KvType::f32);

// Bits that a checkpoint stores for each weight: of its block linears, by which methods are
// compared, and of those with the embedding and the head, by which a model fits a machine or not.
// Norms and biases are not counted.
struct StoredBits {
  double linears = 0;
  double model = 0;
};
Result<StoredBits> bits_per_weight(const ReferenceModel& model);

}  // namespace lowbit
