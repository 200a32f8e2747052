// A language model's forward pass, float or packed, one block resident at a time: what `eval`
// measures. Float products go through a BLAS, quantized linears through the kernels, or with
// LOWBIT_ISA=reference (kernels/isa.h) through the format's reference product, which gives the same
// bits where activations are quantized.
//
// Hidden states are float32. No LibTorch here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "format/packed_checkpoint.h"
#include "io/checkpoint.h"
#include "kernels/isa.h"
#include "kernels/kv_page.h"
#include "kernels/low_rank.h"
#include "kernels/packed_weight.h"
#include "model/model_spec.h"
#include "text/tokenizer.h"

namespace lowbit {

// A linear as the checkpoint has it: float, or packed with its activation scheme and, where its
// weight is stored transformed, the transform that its input needs.
struct LoadedLinear {
  std::int64_t out = 0;
  std::int64_t in = 0;
  // One of the three holds the weight. The first: a float one, or a packed one that is decoded.
  std::vector<float> weight;                // [out, in]
  std::optional<GroupAffineWeight> packed;  // for the reference product
  std::optional<PackedWeight> arranged;     // for the kernels
  Isa isa = Isa::reference;                 // of the kernels
  ActivationScheme activation;
  InputTransform transform;
  std::optional<LowRankProduct> low_rank;
  std::vector<float> bias;  // [out] or empty
};
// How long a linear stays in memory. One that is passed through once is decoded to float32 where it
// is float; one that stays keeps its 16 bits, laid out for the kernels.
enum class Residence { passing, resident };
Result<LoadedLinear> load_linear(const Checkpoint& checkpoint, const LinearSpec& linear,
                                 const QuantizationMap& quantization,
                                 Residence residence = Residence::passing);
void apply(const LoadedLinear& linear, std::span<const float> x,  // [tokens, in]
           std::span<float> y);                                   // [tokens, out]

class TokenEmbedding;  // runtime/embedding.h

class ReferenceModel {
 public:
  static Result<ReferenceModel> open(FileSystem& files, const Path& folder);
  ~ReferenceModel();
  ReferenceModel(ReferenceModel&&) noexcept;

  const Checkpoint& checkpoint() const;
  const ModelSpec& spec() const;
  const QuantizationMap& quantization() const;
  const TokenEmbedding& embedding() const;
  // As what the checkpoint says that keys and values are to be kept (LowbitInfo); none: nothing is
  // said. The caller decides: the functions here and an engine take the type.
  std::optional<KvType> kv_cache() const;

  // The final hidden states (after the last norm) of each window, [tokens, hidden], one block
  // loaded at a time for all windows. `on_block(done, total)` reports progress and may be empty.
  // Every token attends to keys and values as a cache of type `kv` gives them back.
  using Progress = std::function<void(std::int64_t done, std::int64_t total)>;
  Result<std::vector<std::vector<float>>> final_states(
      std::span<const std::vector<TokenId>> windows, const Progress& on_block,
      KvType kv = KvType::f32) const;

  // Logits of some rows of final states: [rows, vocabulary].
  Result<std::vector<float>> logits(std::span<const float> states) const;

 private:
  struct Impl;
  explicit ReferenceModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit
