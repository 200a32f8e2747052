// A model that is resident in memory, and sequences that it extends: the runtime behind `run`,
// `chat` and `bench`.
//
// Sequences of any lengths go through the model together; a prompt goes in chunks, so that the
// memory beside weights and cache is bounded. A sequence keeps its keys and values until it is
// truncated or destroyed; what it gives does not depend on how its tokens were cut into calls or on
// who shared them, to the bit where activations are quantized and up to the order of float sums
// elsewhere. An engine must outlive its sequences, and the model that it was loaded from the
// engine, which reads embeddings there; one call at a time.
//
// Errors: engine/{memory, no-tokens, no-reference, bad-weights}, runtime/{bad-token, too-long,
// non-finite, interrupted}, cache/full and those of the readers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/kv_cache.h"
#include "runtime/reference_model.h"

namespace lowbit {

struct EngineOptions {
  KvType kv = KvType::f16;
  std::int64_t cache_positions = 4096;  // of all sequences together
  std::int64_t chunk_tokens = 512;      // that go through the model at once
};

// A model of generated weights, for measuring speed at sizes that nobody has to download.
struct GeneratedModel {
  ModelSpec spec;
  WeightScheme weight;  // of the blocks' linears, as is the next
  ActivationScheme activation;
  WeightScheme head;
};

// A sequence's next tokens.
struct Extension {
  KvSequence* sequence = nullptr;
  std::span<const TokenId> tokens;  // one or more
};

class Engine {
 public:
  static Result<Engine> load(const ReferenceModel& model, const EngineOptions& options);
  static Result<Engine> generate(const GeneratedModel& model, const EngineOptions& options);
  ~Engine();
  Engine(Engine&&) noexcept;

  const ModelSpec& spec() const;
  KvSequence start();  // an empty sequence

  // Logits of each one's last token, [extensions, vocabulary]. After an error the sequences hold
  // what they held before. Every sequence at most once.
  Result<std::vector<float>> extend(std::span<const Extension> extensions);

  // What a token reads at least once: weights of the linears and the head, as they lie in memory.
  std::uint64_t weight_bytes() const;
  std::uint64_t cache_bytes_per_position() const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit
