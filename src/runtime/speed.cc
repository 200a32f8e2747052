#include "runtime/speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace lowbit {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Status check(const ModelSpec& model, const SpeedOptions& options) {
  const bool positive =
      options.prompt > 0 && options.output > 0 && options.batch > 0 && options.repeats > 0;
  if (positive && options.prompt + options.output <= model.max_positions) return {};
  return usage_error(
      "speed/bad-option",
      fmt::format("a prompt of {} tokens, {} more, {} sequences, {} repeats; each is "
                  "at least 1, and the model has {} positions",
                  options.prompt, options.output, options.batch, options.repeats,
                  model.max_positions));
}

class Run {
 public:
  Run(Engine& engine, const SpeedOptions& options) : engine_(engine) {
    for (std::int64_t s = 0; s < options.batch; ++s) {
      sequences_.push_back(engine.start());
      std::vector<TokenId> text;  // some tokens of the vocabulary, of each sequence its own
      for (std::int64_t i = 0; i < options.prompt; ++i) {
        text.push_back(static_cast<TokenId>((i * 7919 + s * 104729) % engine.spec().vocabulary));
      }
      next_.push_back(std::move(text));
    }
  }

  // Every sequence takes what is next for it, and finds what follows.
  Status step() {
    std::vector<Extension> batch;
    for (std::size_t s = 0; s < sequences_.size(); ++s) batch.push_back({&sequences_[s], next_[s]});
    const auto logits = engine_.extend(batch);
    if (!logits) return logits.error();
    const std::int64_t width = engine_.spec().vocabulary;
    for (std::size_t s = 0; s < sequences_.size(); ++s) {
      const auto row = logits->begin() + static_cast<std::int64_t>(s) * width;
      next_[s] = {static_cast<TokenId>(std::max_element(row, row + width) - row)};
    }
    return {};
  }

  // What a step of single tokens reads.
  std::uint64_t step_bytes() const {
    std::uint64_t bytes = engine_.weight_bytes();
    for (const KvSequence& sequence : sequences_) {
      bytes += engine_.cache_bytes_per_position() * static_cast<std::uint64_t>(sequence.length());
    }
    return bytes;
  }

 private:
  Engine& engine_;
  std::vector<KvSequence> sequences_;
  std::vector<std::vector<TokenId>> next_;
};

}  // namespace

Result<Speed> measure_speed(Engine& engine, const SpeedOptions& options,
                            const ReferenceModel::Progress& on_step) {
  if (Status status = check(engine.spec(), options); !status) return std::move(status).error();
  Speed speed;
  const std::int64_t steps = options.repeats * (1 + options.output);
  std::int64_t done = 0;
  const auto report = [&] {
    if (on_step) on_step(++done, steps);
  };
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    Run run(engine, options);
    const Clock::time_point start = Clock::now();
    if (Status status = run.step(); !status) return std::move(status).error();
    const double prompt_time = seconds_since(start);
    report();
    double bytes = 0;
    const Clock::time_point first = Clock::now();
    for (std::int64_t i = 0; i < options.output; ++i) {
      if (Status status = run.step(); !status) return std::move(status).error();
      bytes += static_cast<double>(run.step_bytes());
      report();
    }
    const double output_time = seconds_since(first);
    const auto batch = static_cast<double>(options.batch);
    speed.prompt_tokens_per_second.push_back(static_cast<double>(options.prompt) * batch /
                                             prompt_time);
    speed.output_tokens_per_second.push_back(static_cast<double>(options.output) * batch /
                                             output_time);
    speed.output_bytes_per_second.push_back(bytes / output_time);
  }
  return speed;
}

double median(std::vector<double> values) {
  CHECK(!values.empty());
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace lowbit
