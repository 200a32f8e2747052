#include "runtime/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/progress.h"
#include "base/threads.h"
#include "runtime/engine.h"

namespace lowbit {
namespace {

using Sequences = std::vector<std::vector<TokenId>>;

constexpr std::int64_t kMaxSequences = 4096;

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

}  // namespace

Result<Sequences> generate(const ReferenceModel& model, const SamplingOptions& options,
                           const ReferenceModel::Progress& on_token) {
  if (Status status = check_options(model, options); !status) return std::move(status).error();
  const ModelSpec& spec = model.spec();
  Sequences sequences(static_cast<std::size_t>(options.sequences), options.prompt);
  std::vector<RandomNumbers> random;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    random.emplace_back(options.seed, s);
    if (!sequences[s].empty()) continue;
    sequences[s].push_back(
        static_cast<TokenId>(spec.bos_token ? *spec.bos_token : random[s].below(spec.vocabulary)));
  }
  auto engine = Engine::load(
      model,
      {.kv = options.kv, .cache_positions = options.sequences * whole_pages(options.length)});
  if (!engine) return std::move(engine).error();
  std::vector<KvSequence> caches;
  for (std::int64_t s = 0; s < options.sequences; ++s) caches.push_back(engine->start());

  for (std::int64_t length = std::ssize(sequences[0]); length < options.length; ++length) {
    if (interrupted()) {
      return Error{ErrorKind::interrupted, "generate/interrupted", "sampling was interrupted"};
    }
    std::vector<Extension> next;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const auto taken = static_cast<std::size_t>(caches[s].length());
      next.push_back({&caches[s], std::span(sequences[s]).subspan(taken)});
    }
    const auto logits = engine->extend(next);
    if (!logits) return logits.error();
    parallel_for(options.sequences, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto s = static_cast<std::size_t>(begin); s < static_cast<std::size_t>(end); ++s) {
        const auto row = std::span(*logits).subspan(s * static_cast<std::size_t>(spec.vocabulary),
                                                    static_cast<std::size_t>(spec.vocabulary));
        sequences[s].push_back(sample(row, options.rule, sequences[s], random[s]));
      }
    });
    if (options.on_next) {
      std::vector<TokenId> drawn;
      for (const std::vector<TokenId>& sequence : sequences) drawn.push_back(sequence.back());
      if (!options.on_next(drawn)) break;
    }
    if (on_token) on_token(length + 1, options.length);
  }
  return sequences;
}

}  // namespace lowbit
