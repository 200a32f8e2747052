#include "runtime/block.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/threads.h"
#include "runtime/activation.h"
#include "runtime/blas.h"

namespace lowbit {
namespace {

// Loads the parts of a block one after the other; the first problem is kept, the rest are skipped.
class BlockLoader {
 public:
  BlockLoader(const Checkpoint& checkpoint, const ModelSpec& model,
              const QuantizationMap& quantization, Residence residence)
      : checkpoint_(checkpoint),
        model_(model),
        quantization_(quantization),
        residence_(residence) {}

  void load(const LinearSpec& spec, LoadedLinear& into) {
    keep(into, [&] { return load_linear(checkpoint_, spec, quantization_, residence_); });
  }
  void load(const NormSpec& spec, NormKind kind, LoadedNorm& into) {
    keep(into, [&] { return load_norm(checkpoint_, model_, spec, kind); });
  }
  Status status() && { return std::move(status_); }

 private:
  template <typename T, typename Load>
  void keep(T& into, const Load& load) {
    if (!status_) return;
    Result<T> loaded = load();
    if (loaded.ok()) {
      into = std::move(*loaded);
    } else {
      status_ = std::move(loaded).error();
    }
  }

  const Checkpoint& checkpoint_;
  const ModelSpec& model_;
  const QuantizationMap& quantization_;
  Residence residence_;
  Status status_;
};

void add(std::span<float> to, std::span<const float> what) {
  constexpr std::int64_t kValuesPerThread = 16384;
  parallel_for(std::ssize(to), kValuesPerThread, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      to[i] += what[i];
    }
  });
}

// The first rows of kept memory; what they hold is anything.
std::span<float> rows_of(AlignedVector<float>& kept, std::int64_t rows, std::int64_t width) {
  const auto size = static_cast<std::size_t>(rows * width);
  if (kept.size() < size) {
    kept = {};  // before the larger one is made
    kept.resize(size);
  }
  return std::span(kept).first(size);
}

void turn(const RotaryTable& rotary, std::span<const SequenceRun> runs, std::span<float> x,
          std::int64_t width) {
  std::int64_t row = 0;
  for (const SequenceRun& run : runs) {
    rotary.turn(x.subspan(static_cast<std::size_t>(row * width),
                          static_cast<std::size_t>(run.tokens * width)),
                width, run.cache->length());
    row += run.tokens;
  }
}

// Norms and rotary positions on q and k, then attention.
std::span<const float> attention_part(const ModelSpec& model, const LoadedBlock& block,
                                      const RotaryTable* rotary, std::int64_t index,
                                      std::span<const SequenceRun> runs, BlockRows& rows,
                                      std::span<const float> normed, const InputObserver& observe) {
  if (observe) observe(block.q, normed);
  LinearInput input(normed, model.hidden);
  const std::span<float> q = rows_of(rows.q, input.tokens(), block.q.out);
  const std::span<float> k = rows_of(rows.k, input.tokens(), block.k.out);
  const std::span<float> v = rows_of(rows.v, input.tokens(), block.v.out);
  const std::array<LinearOutput, 3> outputs = {{{&block.q, q}, {&block.k, k}, {&block.v, v}}};
  apply_all(outputs, input);
  if (block.q_norm) apply(*block.q_norm, q, q);
  if (block.k_norm) apply(*block.k_norm, k, k);
  if (rotary != nullptr) {
    turn(*rotary, runs, q, block.q.out);
    turn(*rotary, runs, k, block.k.out);
  }
  const std::span<float> mixed = rows_of(rows.mixed, input.tokens(), block.q.out);
  attend(model, index, runs, q, k, v, mixed);
  return mixed;
}

// In runs of tokens, so that the wide intermediate values stay small and near.
void ffn_part(const ModelSpec& model, const LoadedBlock& block, BlockRows& rows,
              std::span<const float> normed, std::span<float> out, const InputObserver& observe) {
  if (observe) observe(block.up, normed);
  constexpr std::int64_t kRunTokens = 512;
  const std::int64_t tokens = std::ssize(normed) / model.hidden;
  for (std::int64_t begin = 0; begin < tokens; begin += kRunTokens) {
    const std::int64_t count = std::min(kRunTokens, tokens - begin);
    const auto offset = static_cast<std::size_t>(begin * model.hidden);
    const auto size = static_cast<std::size_t>(count * model.hidden);
    LinearInput input(normed.subspan(offset, size), model.hidden);
    const std::span<float> up = rows_of(rows.up, count, block.up.out);
    std::span<float> wide = up;
    if (block.gate) {
      wide = rows_of(rows.gate, count, block.gate->out);
      const std::array<LinearOutput, 2> outputs = {{{&*block.gate, wide}, {&block.up, up}}};
      apply_all(outputs, input);
      activate(model.activation, wide, up);
    } else {
      apply(block.up, input, up);
      activate(model.activation, up, {});
    }
    if (observe) observe(block.down, wide);
    apply(block.down, wide, out.subspan(offset, size));
  }
}

}  // namespace

Result<LoadedBlock> load_block(const Checkpoint& checkpoint, const ModelSpec& model,
                               const QuantizationMap& quantization, std::int64_t index,
                               Residence residence) {
  const BlockSpec spec = model.block(index);
  LoadedBlock block;
  BlockLoader loader(checkpoint, model, quantization, residence);
  loader.load(spec.attention_norm, model.norm, block.attention_norm);
  loader.load(spec.ffn_norm, model.norm, block.ffn_norm);
  if (spec.q_norm) loader.load(*spec.q_norm, NormKind::rms, block.q_norm.emplace());
  if (spec.k_norm) loader.load(*spec.k_norm, NormKind::rms, block.k_norm.emplace());
  loader.load(spec.q, block.q);
  loader.load(spec.k, block.k);
  loader.load(spec.v, block.v);
  loader.load(spec.o, block.o);
  if (spec.gate) loader.load(*spec.gate, block.gate.emplace());
  loader.load(spec.up, block.up);
  loader.load(spec.down, block.down);
  if (Status status = std::move(loader).status(); !status) return std::move(status).error();
  return block;
}

void forward(const ModelSpec& model, const LoadedBlock& block, const RotaryTable* rotary,
             std::int64_t index, std::span<const SequenceRun> runs, BlockRows& rows,
             std::span<float> hidden, const InputObserver& observe) {
  const SingleThreadedBlas single;
  const std::int64_t tokens = std::ssize(hidden) / model.hidden;
  const std::span<float> normed = rows_of(rows.normed, tokens, model.hidden);
  const std::span<float> part = rows_of(rows.part, tokens, model.hidden);
  apply(block.attention_norm, hidden, normed);
  const std::span<const float> mixed =
      attention_part(model, block, rotary, index, runs, rows, normed, observe);
  if (observe) observe(block.o, mixed);
  apply(block.o, mixed, part);
  add(hidden, part);
  apply(block.ffn_norm, hidden, normed);
  ffn_part(model, block, rows, normed, part, observe);
  add(hidden, part);
}

Status forward_window(const ModelSpec& model, const LoadedBlock& block, const RotaryTable* rotary,
                      KvPool& pool, BlockRows& rows, std::span<float> hidden,
                      const InputObserver& observe) {
  KvSequence cache(pool);
  const SequenceRun run{&cache, std::ssize(hidden) / model.hidden};
  if (Status status = cache.reserve(run.tokens); !status) return status;
  forward(model, block, rotary, 0, {&run, 1}, rows, hidden, observe);
  return {};
}

}  // namespace lowbit
