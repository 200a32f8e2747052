#include "runtime/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/available_memory.h"
#include "base/progress.h"
#include "base/threads.h"
#include "runtime/blas.h"
#include "runtime/block.h"
#include "runtime/embedding.h"

namespace lowbit {
namespace {

using Sequences = std::vector<std::vector<TokenId>>;

constexpr std::int64_t kMaxSequences = 4096;
constexpr std::uint64_t kFloatBytes = sizeof(float);

Status check_options(const ReferenceModel& model, const SamplingOptions& options) {
  const auto refuse = [](std::string message) {
    return usage_error("generate/bad-option", std::move(message));
  };
  if (options.sequences < 1 || options.sequences > kMaxSequences) {
    return refuse(fmt::format("{} sequences; take 1 to {}", options.sequences, kMaxSequences));
  }
  const std::int64_t prompt = std::max<std::int64_t>(1, std::ssize(options.prompt));
  const std::int64_t most = model.spec().max_positions;
  if (options.length < prompt || options.length > most) {
    return refuse(
        fmt::format("sequences of {} tokens; take {} (the prompt) to {} (the model's "
                    "positions)",
                    options.length, prompt, most));
  }
  return check(options.rule);
}

std::uint64_t bytes_of(const ReferenceModel& model, const LinearSpec& linear) {
  const auto weights = static_cast<std::uint64_t>(linear.out * linear.in);
  const LinearScheme* scheme = model.quantization().find(linear.name);
  if (scheme == nullptr || !scheme->weight.quantized()) return weights * kFloatBytes;
  const std::int64_t group = scheme->weight.group_size > 0 ? scheme->weight.group_size : linear.in;
  // At most, while it is loaded: a byte a code; a float scale and a byte of zero point a group.
  return weights + weights / static_cast<std::uint64_t>(group) * (kFloatBytes + 1);
}

// Every block and the head decoded, and the cache at its full length.
std::uint64_t resident_bytes(const ReferenceModel& model, const SamplingOptions& options) {
  const ModelSpec& spec = model.spec();
  std::uint64_t bytes = static_cast<std::uint64_t>(spec.vocabulary * spec.hidden) * kFloatBytes;
  for (std::int64_t index = 0; index < spec.blocks; ++index) {
    const BlockSpec block = spec.block(index);
    for (const LinearSpec* linear : block.linears()) bytes += bytes_of(model, *linear);
  }
  const auto positions = static_cast<std::uint64_t>(options.sequences * options.length);
  const auto a_position = static_cast<std::uint64_t>(2 * spec.kv_heads * spec.head_dim);
  return bytes + positions * a_position * static_cast<std::uint64_t>(spec.blocks) * kFloatBytes;
}

Status check_memory(const ReferenceModel& model, const SamplingOptions& options) {
  const std::uint64_t needed = resident_bytes(model, options);
  const auto available = available_memory(model.checkpoint().files());
  if (!available || needed <= *available) return {};
  return environment_error(
      "generate/memory",
      fmt::format("{}: sampling keeps the whole model in memory, {} bytes, and {} are available; "
                  "take fewer or shorter sequences, a larger machine, or give a text",
                  model.checkpoint().folder().string(), needed, *available));
}

// The model in memory, and what its sequences have said so far.
class Generator {
 public:
  static Result<Generator> load(const ReferenceModel& model, const SamplingOptions& options) {
    Generator generator(model);
    const auto& [checkpoint, spec] = std::tie(model.checkpoint(), model.spec());
    for (std::int64_t index = 0; index < spec.blocks; ++index) {
      auto block = load_block(checkpoint, spec, model.quantization(), index);
      if (!block) return std::move(block).error();
      generator.blocks_.push_back(std::move(*block));
    }
    auto norm = load_norm(checkpoint, spec, spec.final_norm, spec.norm);
    if (!norm) return std::move(norm).error();
    generator.norm_ = std::move(*norm);
    auto head = head_rows(checkpoint, spec, 0, spec.vocabulary);
    if (!head) return std::move(head).error();
    generator.head_ = std::move(*head);
    if (spec.rope) generator.rotary_.emplace(*spec.rope, spec.head_dim, options.length);
    generator.caches_.assign(generator.blocks_.size(),
                             std::vector<KeyValues>(static_cast<std::size_t>(options.sequences)));
    generator.reserve(options.length);
    return generator;
  }

  // Takes the next `count` tokens of every sequence, from position `first` on; returns the logits
  // of the last, [sequences, vocabulary].
  Result<std::vector<float>> step(const Sequences& sequences, std::int64_t first,
                                  std::int64_t count) {
    const ModelSpec& spec = model_->spec();
    std::vector<float> hidden;
    for (const std::vector<TokenId>& sequence : sequences) {
      const auto tokens = std::span(sequence).subspan(static_cast<std::size_t>(first),
                                                      static_cast<std::size_t>(count));
      const auto rows = embed(model_->checkpoint(), spec, tokens, first);
      if (!rows) return rows.error();
      hidden.insert(hidden.end(), rows->begin(), rows->end());
    }
    for (std::size_t index = 0; index < blocks_.size(); ++index) {
      forward(spec, blocks_[index], rotary_ ? &*rotary_ : nullptr, caches_[index], hidden);
    }
    return logits(last_rows(hidden, count), std::ssize(sequences));
  }

 private:
  explicit Generator(const ReferenceModel& model) : model_(&model) {}

  void reserve(std::int64_t length) {
    const ModelSpec& spec = model_->spec();
    const auto size = static_cast<std::size_t>(length * spec.kv_heads * spec.head_dim);
    for (std::vector<KeyValues>& block : caches_) {
      for (KeyValues& cache : block) {
        cache.keys.reserve(size);
        cache.values.reserve(size);
      }
    }
  }

  std::vector<float> last_rows(std::span<const float> hidden, std::int64_t count) const {
    const auto width = static_cast<std::size_t>(model_->spec().hidden);
    const std::size_t run = width * static_cast<std::size_t>(count);
    std::vector<float> rows;
    for (std::size_t end = run; end <= hidden.size(); end += run) {
      const auto last = hidden.subspan(end - width, width);
      rows.insert(rows.end(), last.begin(), last.end());
    }
    apply(norm_, rows, rows);
    return rows;
  }

  std::vector<float> logits(std::span<const float> states, std::int64_t rows) const {
    const ModelSpec& spec = model_->spec();
    std::vector<float> result(static_cast<std::size_t>(rows * spec.vocabulary));
    linear_product({states.data(), rows, spec.hidden, spec.hidden},
                   {head_.data(), spec.vocabulary, spec.hidden, spec.hidden}, nullptr,
                   {result.data(), rows, spec.vocabulary, spec.vocabulary});
    return result;
  }

  const ReferenceModel* model_;
  std::vector<LoadedBlock> blocks_;
  std::vector<std::vector<KeyValues>> caches_;  // [blocks][sequences]
  LoadedNorm norm_;
  std::vector<float> head_;
  std::optional<RotaryTable> rotary_;
};

Status non_finite(const ReferenceModel& model, std::int64_t position) {
  return bad_input("runtime/non-finite",
                   fmt::format("{}: position {}: the logits are not finite; the checkpoint's "
                               "weights or scales are damaged",
                               model.checkpoint().folder().string(), position));
}

}  // namespace

Result<Sequences> generate(const ReferenceModel& model, const SamplingOptions& options,
                           const ReferenceModel::Progress& on_token) {
  if (Status status = check_options(model, options); !status) return std::move(status).error();
  if (Status status = check_memory(model, options); !status) return std::move(status).error();
  const ModelSpec& spec = model.spec();
  Sequences sequences(static_cast<std::size_t>(options.sequences), options.prompt);
  std::vector<RandomNumbers> random;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    random.emplace_back(options.seed, s);
    if (!sequences[s].empty()) continue;
    sequences[s].push_back(
        static_cast<TokenId>(spec.bos_token ? *spec.bos_token : random[s].below(spec.vocabulary)));
  }
  auto generator = Generator::load(model, options);
  if (!generator) return std::move(generator).error();

  std::int64_t taken = 0;
  for (std::int64_t length = std::ssize(sequences[0]); length < options.length; ++length) {
    if (interrupted()) {
      return Error{ErrorKind::interrupted, "generate/interrupted", "sampling was interrupted"};
    }
    const auto logits = generator->step(sequences, taken, length - taken);
    if (!logits) return logits.error();
    const bool finite =
        std::all_of(logits->begin(), logits->end(), [](float x) { return std::isfinite(x); });
    if (!finite) return non_finite(model, length).error();
    parallel_for(options.sequences, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto s = static_cast<std::size_t>(begin); s < static_cast<std::size_t>(end); ++s) {
        const auto row = std::span(*logits).subspan(s * static_cast<std::size_t>(spec.vocabulary),
                                                    static_cast<std::size_t>(spec.vocabulary));
        sequences[s].push_back(sample(row, options.rule, sequences[s], random[s]));
      }
    });
    taken = length;
    if (options.on_next) {
      std::vector<TokenId> next;
      for (const std::vector<TokenId>& sequence : sequences) next.push_back(sequence.back());
      if (!options.on_next(next)) break;
    }
    if (on_token) on_token(length + 1, options.length);
  }
  return sequences;
}

}  // namespace lowbit
