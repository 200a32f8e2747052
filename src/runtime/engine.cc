#include "runtime/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <tuple>
#include <utility>

#include "base/available_memory.h"
#include "base/check.h"
#include "base/progress.h"
#include "runtime/block.h"
#include "runtime/embedding.h"
#include "runtime/sampler.h"

namespace lowbit {

struct Engine::Impl {
  ModelSpec spec;
  std::string name;  // for errors
  std::vector<LoadedBlock> blocks;
  LoadedNorm norm;
  LoadedLinear head;
  // Hidden states of tokens at consecutive positions.
  std::function<Result<std::vector<float>>(std::span<const TokenId> tokens, std::int64_t first)>
      embed;
  std::unique_ptr<KvPool> pool;  // whose address sequences keep
  std::optional<RotaryTable> rotary;
  std::int64_t rotary_positions = 0;
  std::int64_t chunk_tokens = 512;
  BlockRows rows;

  // The rotary table grows with the longest sequence: whole, that of a long context is large.
  const RotaryTable* rotary_for(std::int64_t positions) {
    if (!spec.rope) return nullptr;
    if (positions > rotary_positions) {
      rotary_positions = std::max(positions, std::min(2 * positions, spec.max_positions));
      rotary.emplace(*spec.rope, spec.head_dim, rotary_positions);
    }
    return &*rotary;
  }

  Result<std::vector<float>> extend(std::span<const Extension> extensions);
  Status take(std::span<const Extension> chunk, std::vector<float>& last_states);
};

namespace {

std::uint64_t held_bytes(const LoadedLinear& linear) {
  const std::uint64_t pair = linear.low_rank ? linear.low_rank->bytes() : 0;
  if (linear.arranged) return pair + linear.arranged->bytes();
  if (linear.packed) {
    return pair + linear.packed->codes.size() + linear.packed->zeros.size() +
           linear.packed->scales.size() * sizeof(float);
  }
  return pair + linear.weight.size() * sizeof(float);
}

std::uint64_t held_bytes(const LoadedBlock& block) {
  std::uint64_t bytes = 0;
  for (const LoadedLinear* linear :
       {&block.q, &block.k, &block.v, &block.o, &block.up, &block.down}) {
    bytes += held_bytes(*linear);
  }
  return bytes + (block.gate ? held_bytes(*block.gate) : 0);
}

// What loading a linear takes: its codes, scales and zeros while they are laid out, or floats.
std::uint64_t load_bytes(const ReferenceModel& model, const LinearSpec& linear) {
  const auto weights = static_cast<std::uint64_t>(linear.out * linear.in);
  const LinearScheme* scheme = model.quantization().find(linear.name);
  if (scheme == nullptr || !scheme->weight.quantized()) {
    const auto stored = model.checkpoint().tensor(linear.name + ".weight");
    return weights * (stored ? size_bytes(stored->info->dtype) : sizeof(float));
  }
  const std::int64_t group = scheme->weight.group_size > 0 ? scheme->weight.group_size : linear.in;
  const auto pair = static_cast<std::uint64_t>(scheme->low_rank.rank * (linear.out + linear.in));
  return weights * static_cast<std::uint64_t>(scheme->weight.bits) / 8 +
         weights / static_cast<std::uint64_t>(group) * 3 + pair * sizeof(float);
}

Status check_memory(const ReferenceModel& model, const EngineOptions& options) {
  const ModelSpec& spec = model.spec();
  std::uint64_t needed = load_bytes(
      model, {.name = spec.head_name, .out = spec.vocabulary, .in = spec.hidden, .bias = false});
  for (std::int64_t index = 0; index < spec.blocks; ++index) {
    const BlockSpec block = spec.block(index);
    for (const LinearSpec* linear : block.linears()) needed += load_bytes(model, *linear);
  }
  needed += static_cast<std::uint64_t>(
      KvShape::of(spec, options.kv, spec.blocks).bytes_of(options.cache_positions));
  const auto available = available_memory(model.checkpoint().files());
  if (!available || needed <= *available) return {};
  return environment_error(
      "engine/memory",
      fmt::format("{}: the model and a cache of {} positions need {} bytes of memory, and {} are "
                  "available; take a smaller cache (fewer or shorter sequences, int8 or int4 keys "
                  "and values), fewer bits, or a larger machine",
                  model.checkpoint().folder().string(), options.cache_positions, needed,
                  *available));
}

// Parts of a model that has a shape alone.
class GeneratedWeights {
 public:
  explicit GeneratedWeights(Isa isa) : isa_(isa) {}

  LoadedLinear linear(const LinearSpec& spec, const WeightScheme& weight,
                      const ActivationScheme& activation) {
    LoadedLinear linear;
    linear.out = spec.out;
    linear.in = spec.in;
    linear.isa = isa_;
    linear.activation = activation;
    linear.arranged = random_packed_weight(spec.out, spec.in, weight, ++seed_);
    if (spec.bias) linear.bias.resize(static_cast<std::size_t>(spec.out));
    return linear;
  }

  LoadedNorm norm(const ModelSpec& model, const NormSpec& spec, NormKind kind) const {
    LoadedNorm norm;
    norm.kind = kind;
    norm.epsilon = static_cast<float>(model.norm_epsilon);
    norm.weight.assign(static_cast<std::size_t>(spec.width), 1.0F);
    if (kind == NormKind::layer) norm.bias.resize(norm.weight.size());
    return norm;
  }

  LoadedBlock block(const GeneratedModel& model, const BlockSpec& spec) {
    const auto of = [&](const LinearSpec& part) {
      return linear(part, model.weight, model.activation);
    };
    LoadedBlock block;
    block.attention_norm = norm(model.spec, spec.attention_norm, model.spec.norm);
    block.ffn_norm = norm(model.spec, spec.ffn_norm, model.spec.norm);
    if (spec.q_norm) block.q_norm = norm(model.spec, *spec.q_norm, NormKind::rms);
    if (spec.k_norm) block.k_norm = norm(model.spec, *spec.k_norm, NormKind::rms);
    block.q = of(spec.q);
    block.k = of(spec.k);
    block.v = of(spec.v);
    block.o = of(spec.o);
    if (spec.gate) block.gate = of(*spec.gate);
    block.up = of(spec.up);
    block.down = of(spec.down);
    return block;
  }

 private:
  Isa isa_;
  std::uint64_t seed_ = 0;
};

Error failure(ErrorKind kind, const char* code, const std::string& name, const std::string& what) {
  return Error{kind, code, fmt::format("{}: {}", name, what)};
}

}  // namespace

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

const ModelSpec& Engine::spec() const { return impl_->spec; }
KvSequence Engine::start() { return KvSequence(*impl_->pool); }

std::uint64_t Engine::weight_bytes() const {
  std::uint64_t bytes = held_bytes(impl_->head);
  for (const LoadedBlock& block : impl_->blocks) bytes += held_bytes(block);
  return bytes;
}

std::uint64_t Engine::cache_bytes_per_position() const {
  return static_cast<std::uint64_t>(impl_->pool->shape().page_bytes() / kPagePositions);
}

Result<Engine> Engine::load(const ReferenceModel& model, const EngineOptions& options) {
  if (Status fits = check_memory(model, options); !fits) return std::move(fits).error();
  const auto& [checkpoint, spec] = std::tie(model.checkpoint(), model.spec());
  auto impl = std::make_unique<Impl>();
  impl->spec = spec;
  impl->name = checkpoint.folder().string();
  impl->chunk_tokens = options.chunk_tokens;
  for (std::int64_t index = 0; index < spec.blocks; ++index) {
    if (interrupted()) {
      return failure(ErrorKind::interrupted, "runtime/interrupted", impl->name, "interrupted");
    }
    auto block = load_block(checkpoint, spec, model.quantization(), index, Residence::resident);
    if (!block) return std::move(block).error();
    impl->blocks.push_back(std::move(*block));
  }
  auto norm = load_norm(checkpoint, spec, spec.final_norm, spec.norm);
  if (!norm) return std::move(norm).error();
  impl->norm = std::move(*norm);
  auto head = load_head(checkpoint, spec, model.quantization(), Residence::resident);
  if (!head) return std::move(head).error();
  impl->head = std::move(*head);
  impl->embed = [&embedding = model.embedding()](std::span<const TokenId> tokens,
                                                 std::int64_t first) {
    return embedding.rows(tokens, first);
  };
  impl->pool =
      std::make_unique<KvPool>(KvShape::of(spec, options.kv, spec.blocks), options.cache_positions);
  return Engine(std::move(impl));
}

namespace {

// What random_packed_weight can make: 2 to 8 bits, in groups of whole lanes that divide each row.
Status check_generated(const GeneratedModel& model) {
  const auto fits = [](const WeightScheme& scheme, std::int64_t in) {
    const bool divides = scheme.group_size == 0 || in % scheme.group_size == 0;
    return scheme.bits >= 2 && scheme.bits <= 8 && divides && scheme.group_size % 4 == 0;
  };
  bool all = fits(model.head, model.spec.hidden);
  const BlockSpec block = model.spec.block(0);
  for (const LinearSpec* linear : block.linears()) all = all && fits(model.weight, linear->in);
  if (all) return {};
  return usage_error("engine/bad-weights",
                     fmt::format("generated weights of {} bits in groups of {}, a head of {} in "
                                 "groups of {}; take 2 to 8 bits, and groups of a multiple of 4 "
                                 "that divides {} and {}",
                                 model.weight.bits, model.weight.group_size, model.head.bits,
                                 model.head.group_size, model.spec.hidden, model.spec.ffn));
}

}  // namespace

Result<Engine> Engine::generate(const GeneratedModel& model, const EngineOptions& options) {
  if (Status status = check_generated(model); !status) return std::move(status).error();
  const Result<Isa> isa = chosen_isa();
  if (!isa) return isa.error();
  if (*isa == Isa::reference) {
    return usage_error(
        "engine/no-reference",
        "LOWBIT_ISA=reference: generated weights are laid out for the kernels alone; "
        "take another one");
  }
  auto impl = std::make_unique<Impl>();
  impl->spec = model.spec;
  impl->name = model.spec.model_type;
  impl->chunk_tokens = options.chunk_tokens;
  GeneratedWeights weights(*isa);
  for (std::int64_t index = 0; index < model.spec.blocks; ++index) {
    impl->blocks.push_back(weights.block(model, model.spec.block(index)));
  }
  impl->norm = weights.norm(model.spec, model.spec.final_norm, model.spec.norm);
  impl->head = weights.linear(
      {.name = model.spec.head_name, .out = model.spec.vocabulary, .in = model.spec.hidden},
      model.head, {});
  impl->embed = [spec = model.spec](std::span<const TokenId> tokens,
                                    std::int64_t first) -> Result<std::vector<float>> {
    if (Status status = check_tokens(spec, tokens, first); !status) {
      return std::move(status).error();
    }
    std::vector<float> rows;
    for (const TokenId id : tokens) {
      RandomNumbers random(static_cast<std::uint64_t>(id), 0);
      for (std::int64_t i = 0; i < spec.hidden; ++i) {
        rows.push_back(static_cast<float>(random.uniform()) - 0.5F);
      }
    }
    return rows;
  };
  impl->pool = std::make_unique<KvPool>(KvShape::of(model.spec, options.kv, model.spec.blocks),
                                        options.cache_positions);
  return Engine(std::move(impl));
}

// One chunk of each sequence through all blocks. The last hidden states are given, normed.
Status Engine::Impl::take(std::span<const Extension> chunk, std::vector<float>& last_states) {
  std::vector<SequenceRun> runs;
  std::vector<float> hidden;
  std::int64_t longest = 0;
  for (const Extension& extension : chunk) {
    KvSequence& sequence = *extension.sequence;
    const std::int64_t tokens = std::ssize(extension.tokens);
    auto embedded = embed(extension.tokens, sequence.length());
    if (!embedded) return std::move(embedded).error();
    hidden.insert(hidden.end(), embedded->begin(), embedded->end());
    if (Status status = sequence.reserve(sequence.length() + tokens); !status) return status;
    runs.push_back({&sequence, tokens});
    longest = std::max(longest, sequence.length() + tokens);
  }
  const RotaryTable* turns = rotary_for(longest);
  for (std::size_t index = 0; index < blocks.size(); ++index) {
    if (interrupted()) {
      return failure(ErrorKind::interrupted, "runtime/interrupted", name, "interrupted");
    }
    forward(spec, blocks[index], turns, static_cast<std::int64_t>(index), runs, rows, hidden);
  }
  last_states.clear();
  std::int64_t row = 0;
  for (const SequenceRun& run : runs) {
    run.cache->advance(run.tokens);
    row += run.tokens;
    const auto last = hidden.begin() + (row - 1) * spec.hidden;
    last_states.insert(last_states.end(), last, last + spec.hidden);
  }
  apply(norm, last_states, last_states);
  return {};
}

Result<std::vector<float>> Engine::Impl::extend(std::span<const Extension> extensions) {
  // Chunks of the sequences in turn, `chunk_tokens` in all: a long prompt is cut, short ones and
  // single tokens go together.
  std::vector<float> states(extensions.size() * static_cast<std::size_t>(spec.hidden));
  std::vector<std::int64_t> taken(extensions.size());
  for (std::size_t next = 0; next < extensions.size();) {
    std::vector<Extension> chunk;
    std::vector<std::size_t> owners;
    std::int64_t room = chunk_tokens;
    for (std::size_t i = next; i < extensions.size() && room > 0; ++i) {
      const auto rest = extensions[i].tokens.subspan(static_cast<std::size_t>(taken[i]));
      const std::int64_t count = std::min(room, std::ssize(rest));
      chunk.push_back({extensions[i].sequence, rest.first(static_cast<std::size_t>(count))});
      owners.push_back(i);
      room -= count;
    }
    std::vector<float> last_states;
    if (Status status = take(chunk, last_states); !status) return std::move(status).error();
    for (std::size_t c = 0; c < chunk.size(); ++c) {
      taken[owners[c]] += std::ssize(chunk[c].tokens);
      std::copy_n(last_states.begin() + static_cast<std::int64_t>(c) * spec.hidden, spec.hidden,
                  states.begin() + static_cast<std::int64_t>(owners[c]) * spec.hidden);
    }
    while (next < extensions.size() && taken[next] == std::ssize(extensions[next].tokens)) ++next;
  }
  std::vector<float> logits(extensions.size() * static_cast<std::size_t>(spec.vocabulary));
  apply(head, states, logits);
  const bool finite =
      std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); });
  if (finite) return logits;
  return failure(ErrorKind::bad_input, "runtime/non-finite", name,
                 "the logits are not finite; the checkpoint's weights or scales are damaged");
}

Result<std::vector<float>> Engine::extend(std::span<const Extension> extensions) {
  std::vector<std::int64_t> before;
  for (const Extension& extension : extensions) {
    if (extension.tokens.empty()) {
      return failure(ErrorKind::usage, "engine/no-tokens", impl_->name,
                     "a sequence is extended by no tokens; give at least one");
    }
    before.push_back(extension.sequence->length());
  }
  auto logits = impl_->extend(extensions);
  if (logits.ok()) return logits;
  for (std::size_t i = 0; i < extensions.size(); ++i) extensions[i].sequence->truncate(before[i]);
  return logits;
}

}  // namespace lowbit
