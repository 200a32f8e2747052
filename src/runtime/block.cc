#include "runtime/block.h"

#include <utility>
#include <vector>

#include "base/check.h"
#include "base/threads.h"
#include "runtime/activation.h"
#include "runtime/attention.h"
#include "runtime/blas.h"

namespace lowbit {
namespace {

// Loads the parts of a block one after the other; the first problem is kept, the rest are skipped.
class BlockLoader {
 public:
  BlockLoader(const Checkpoint& checkpoint, const ModelSpec& model,
              const QuantizationMap& quantization)
      : checkpoint_(checkpoint), model_(model), quantization_(quantization) {}

  void load(const LinearSpec& spec, LoadedLinear& into) {
    keep(into, [&] { return load_linear(checkpoint_, spec, quantization_); });
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
  Status status_;
};

void add(std::span<float> to, std::span<const float> what) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += what[i];
}

std::vector<float> rows_of(std::int64_t rows, std::int64_t width) {
  return std::vector<float>(static_cast<std::size_t>(rows * width));
}

void append(std::vector<float>& to, std::span<const float> rows) {
  to.insert(to.end(), rows.begin(), rows.end());
}

// Attention of all sequences: norms and rotary positions on q and k, caches extended, then attend.
std::vector<float> attention_part(const ModelSpec& model, const LoadedBlock& block,
                                  const RotaryTable* rotary, std::span<KeyValues> caches,
                                  std::span<const float> normed, const InputObserver& observe) {
  if (observe) observe(block.q, normed);
  LinearInput input(normed, model.hidden);
  std::vector<float> q = rows_of(input.tokens(), block.q.out);
  std::vector<float> k = rows_of(input.tokens(), block.k.out);
  std::vector<float> v = rows_of(input.tokens(), block.v.out);
  apply(block.q, input, q);
  apply(block.k, input, k);
  apply(block.v, input, v);
  if (block.q_norm) apply(*block.q_norm, q, q);
  if (block.k_norm) apply(*block.k_norm, k, k);

  const std::int64_t sequences = std::ssize(caches);
  const auto query_run = q.size() / caches.size();
  const auto key_run = k.size() / caches.size();
  const std::int64_t first = std::ssize(caches[0].keys) / block.k.out;
  std::vector<float> mixed(q.size());
  parallel_for(sequences, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto s = static_cast<std::size_t>(begin); s < static_cast<std::size_t>(end); ++s) {
      const std::span<float> queries = std::span(q).subspan(s * query_run, query_run);
      const std::span<float> keys = std::span(k).subspan(s * key_run, key_run);
      if (rotary != nullptr) {
        rotary->turn(queries, block.q.out, first);
        rotary->turn(keys, block.k.out, first);
      }
      append(caches[s].keys, keys);
      append(caches[s].values, std::span(v).subspan(s * key_run, key_run));
      attend(model, caches[s], queries, std::span(mixed).subspan(s * query_run, query_run));
    }
  });
  return mixed;
}

// In runs of tokens, so that the wide intermediate values stay small and near.
void ffn_part(const ModelSpec& model, const LoadedBlock& block, std::span<const float> normed,
              std::span<float> out, const InputObserver& observe) {
  if (observe) observe(block.up, normed);
  constexpr std::int64_t kRunTokens = 512;
  const std::int64_t tokens = std::ssize(normed) / model.hidden;
  for (std::int64_t begin = 0; begin < tokens; begin += kRunTokens) {
    const std::int64_t count = std::min(kRunTokens, tokens - begin);
    const auto offset = static_cast<std::size_t>(begin * model.hidden);
    const auto size = static_cast<std::size_t>(count * model.hidden);
    LinearInput input(normed.subspan(offset, size), model.hidden);
    std::vector<float> up = rows_of(count, block.up.out);
    apply(block.up, input, up);
    if (block.gate) {
      std::vector<float> gate = rows_of(count, block.gate->out);
      apply(*block.gate, input, gate);
      activate(model.activation, gate, up);
      up = std::move(gate);
    } else {
      activate(model.activation, up, {});
    }
    if (observe) observe(block.down, up);
    apply(block.down, up, out.subspan(offset, size));
  }
}

}  // namespace

Result<LoadedBlock> load_block(const Checkpoint& checkpoint, const ModelSpec& model,
                               const QuantizationMap& quantization, std::int64_t index) {
  const BlockSpec spec = model.block(index);
  LoadedBlock block;
  BlockLoader loader(checkpoint, model, quantization);
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
             std::span<KeyValues> caches, std::span<float> hidden, const InputObserver& observe) {
  CHECK(!caches.empty() && std::ssize(hidden) % (std::ssize(caches) * model.hidden) == 0);
  const SingleThreadedBlas single;
  std::vector<float> normed(hidden.size());
  std::vector<float> part(hidden.size());
  apply(block.attention_norm, hidden, normed);
  const std::vector<float> mixed = attention_part(model, block, rotary, caches, normed, observe);
  if (observe) observe(block.o, mixed);
  apply(block.o, mixed, part);
  add(hidden, part);
  apply(block.ffn_norm, hidden, normed);
  ffn_part(model, block, normed, part, observe);
  add(hidden, part);
}

}  // namespace lowbit
