#include "eval/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/progress.h"
#include "base/threads.h"
#include "eval/row_statistics.h"

namespace lowbit {
namespace {

using Windows = std::span<const std::vector<TokenId>>;
using Clock = std::chrono::steady_clock;

// Logits of this many bytes are in memory at a time, for each model.
constexpr std::int64_t kLogitsBytes = std::int64_t{64} << 20;

// What one position contributes.
struct PositionScore {
  double loss = 0.0;            // negative log-likelihood of the next token
  double reference_loss = 0.0;  // by the reference
  double kl = 0.0;
  bool agrees = false;
};

// Means over the predictions of one window.
struct WindowScore {
  double loss = 0.0;
  double reference_loss = 0.0;
  double kl = 0.0;
  double agreement = 0.0;
};

PositionScore score_position(std::span<const float> logits, std::span<const float> reference,
                             TokenId next) {
  const auto target = static_cast<std::size_t>(next);
  const double log_sum = log_sum_exp(logits);
  PositionScore score;
  score.loss = log_sum - logits[target];
  if (reference.empty()) return score;
  const double reference_log_sum = log_sum_exp(reference);
  score.reference_loss = reference_log_sum - reference[target];
  score.kl = kl_divergence(reference, reference_log_sum, logits, log_sum);
  score.agrees = largest_index(logits) == largest_index(reference);
  return score;
}

// Final states of a window and the model they belong to.
struct Side {
  const ReferenceModel* model = nullptr;
  std::span<const float> states;

  Result<std::vector<float>> logits(std::int64_t begin, std::int64_t end) const {
    const std::int64_t hidden = model->spec().hidden;
    return model->logits(states.subspan(static_cast<std::size_t>(begin * hidden),
                                        static_cast<std::size_t>((end - begin) * hidden)));
  }
};

Result<WindowScore> score_window(const Side& model, const Side& reference,
                                 std::span<const TokenId> tokens) {
  const std::int64_t predictions = std::ssize(tokens) - 1;
  const std::int64_t vocabulary = model.model->spec().vocabulary;
  const std::int64_t rows_at_once =
      std::max<std::int64_t>(1, kLogitsBytes / (vocabulary * std::int64_t{sizeof(float)}));
  std::vector<PositionScore> scores(static_cast<std::size_t>(predictions));
  for (std::int64_t first = 0; first < predictions; first += rows_at_once) {
    const std::int64_t last = std::min(first + rows_at_once, predictions);
    const auto logits = model.logits(first, last);
    if (!logits) return logits.error();
    Result<std::vector<float>> expected = std::vector<float>{};
    if (reference.model != nullptr) expected = reference.logits(first, last);
    if (!expected) return expected.error();
    const auto row = [&](const std::vector<float>& all, std::int64_t at) {
      return all.empty() ? std::span<const float>()
                         : std::span(all).subspan(static_cast<std::size_t>(at * vocabulary),
                                                  static_cast<std::size_t>(vocabulary));
    };
    parallel_for(last - first, 8, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t at = begin; at < end; ++at) {
        const auto position = static_cast<std::size_t>(first + at);
        scores[position] =
            score_position(row(*logits, at), row(*expected, at), tokens[position + 1]);
      }
    });
  }
  WindowScore sum;
  for (const PositionScore& score : scores) {
    sum.loss += score.loss;
    sum.reference_loss += score.reference_loss;
    sum.kl += score.kl;
    sum.agreement += score.agrees ? 1.0 : 0.0;
  }
  const auto count = static_cast<double>(predictions);
  return WindowScore{sum.loss / count, sum.reference_loss / count, sum.kl / count,
                     sum.agreement / count};
}

double mean(std::span<const WindowScore> scores, double WindowScore::*field) {
  // Sorted, so that the order of windows cannot change the last digit.
  std::vector<double> values;
  for (const WindowScore& score : scores) values.push_back(score.*field);
  std::sort(values.begin(), values.end());
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Of the mean over windows: positions of one window are not independent, windows nearly are.
double standard_error(std::span<const WindowScore> scores, double WindowScore::*field) {
  const double center = mean(scores, field);
  double squares = 0.0;
  for (const WindowScore& score : scores) squares += std::pow(score.*field - center, 2);
  const auto count = static_cast<double>(scores.size());
  return std::sqrt(squares / (count - 1.0) / count);
}

Status check_inputs(const ReferenceModel& model, const ReferenceModel* reference, Windows windows) {
  for (const std::vector<TokenId>& window : windows) {
    if (window.size() < 2) {
      return bad_input(
          "eval/window-too-short",
          fmt::format("a window of {} tokens has no prediction; take at least 2", window.size()));
    }
  }
  if (windows.empty()) return bad_input("eval/text-too-short", "no windows; give a longer text");
  if (reference == nullptr || reference->spec().vocabulary == model.spec().vocabulary) return {};
  return bad_input(
      "eval/vocabularies-differ",
      fmt::format("{}: a vocabulary of {} tokens, the reference {} has {}; give the checkpoint "
                  "that the model was made from",
                  model.checkpoint().folder().string(), model.spec().vocabulary,
                  reference->checkpoint().folder().string(), reference->spec().vocabulary));
}

Evaluation summarize(std::span<const WindowScore> scores, bool with_reference) {
  Evaluation result;
  result.windows = std::ssize(scores);
  result.perplexity = std::exp(mean(scores, &WindowScore::loss));
  if (!with_reference) return result;
  result.reference_perplexity = std::exp(mean(scores, &WindowScore::reference_loss));
  result.kl = mean(scores, &WindowScore::kl);
  result.top1_agreement = mean(scores, &WindowScore::agreement);
  if (scores.size() > 1) result.kl_standard_error = standard_error(scores, &WindowScore::kl);
  return result;
}

// One step is one window through one block, or through the head.
std::int64_t own_steps(const ReferenceModel& model, Windows windows) {
  return std::ssize(windows) * (model.spec().blocks + 1);
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Inputs are checked; a pass without a model is no reference.
Result<Evaluation> measure(const ReferenceModel& model, const ReferencePass& reference,
                           Windows windows, const ReferenceModel::Progress& on_block, KvType kv) {
  const auto start = Clock::now();
  const auto bits = bits_per_weight(model);
  if (!bits) return bits.error();
  const auto report = [&](std::int64_t done) {
    if (on_block) on_block(done, own_steps(model, windows));
  };
  const auto states = model.final_states(
      windows, [&](auto done, auto) { report(done); }, kv);
  if (!states) return states.error();

  std::vector<WindowScore> scores;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    if (interrupted()) return Error{ErrorKind::interrupted, "eval/interrupted", "interrupted"};
    Side other;
    if (reference.model != nullptr) other = {reference.model, reference.states[w]};
    const auto score = score_window({&model, (*states)[w]}, other, windows[w]);
    if (!score) return score.error();
    if (!std::isfinite(score->loss + score->reference_loss + score->kl)) {
      return bad_input("eval/non-finite",
                       fmt::format("{}: window {}: the logits are not finite; the checkpoint is "
                                   "damaged",
                                   model.checkpoint().folder().string(), w));
    }
    scores.push_back(*score);
    report(std::ssize(windows) * model.spec().blocks + std::ssize(scores));
  }
  Evaluation result = summarize(scores, reference.model != nullptr);
  result.bits_per_weight = bits->linears;
  result.model_bits_per_weight = bits->model;
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace

Result<std::vector<std::vector<TokenId>>> cut_windows(std::span<const TokenId> tokens,
                                                      const EvaluationOptions& options) {
  const std::int64_t length = options.window_length;
  if (length < 2) {
    return usage_error("eval/window-length",
                       fmt::format("windows of {} tokens; a window needs at least 2", length));
  }
  std::int64_t count = std::ssize(tokens) / length;
  if (options.max_windows > 0) count = std::min(count, options.max_windows);
  if (count == 0) {
    return bad_input("eval/text-too-short",
                     fmt::format("the text has {} tokens, one window needs {}; give a longer text "
                                 "or shorter windows",
                                 tokens.size(), length));
  }
  std::vector<std::vector<TokenId>> windows;
  for (std::int64_t at = 0; at < count; ++at) {
    windows.emplace_back(tokens.begin() + at * length, tokens.begin() + (at + 1) * length);
  }
  return windows;
}

Result<ReferencePass> pass_reference(const ReferenceModel& reference, Windows windows,
                                     const ReferenceModel::Progress& on_block) {
  auto states = reference.final_states(windows, on_block);
  if (!states) return std::move(states).error();
  return ReferencePass{.model = &reference, .states = std::move(*states)};
}

Result<Evaluation> evaluate(const ReferenceModel& model, const ReferencePass& reference,
                            Windows windows, const ReferenceModel::Progress& on_block, KvType kv) {
  if (Status status = check_inputs(model, reference.model, windows); !status) {
    return std::move(status).error();
  }
  return measure(model, reference, windows, on_block, kv);
}

Result<Evaluation> evaluate(const ReferenceModel& model, const ReferenceModel* reference,
                            Windows windows, const ReferenceModel::Progress& on_block, KvType kv) {
  const auto start = Clock::now();
  if (Status status = check_inputs(model, reference, windows); !status) {
    return std::move(status).error();
  }
  const std::int64_t count = std::ssize(windows);
  const std::int64_t other_steps = reference != nullptr ? count * reference->spec().blocks : 0;
  const std::int64_t all_steps = other_steps + own_steps(model, windows);
  const auto report = [&](std::int64_t done) {
    if (on_block) on_block(done, all_steps);
  };
  ReferencePass pass;
  if (reference != nullptr) {
    auto passed = pass_reference(*reference, windows, [&](auto done, auto) { report(done); });
    if (!passed) return std::move(passed).error();
    pass = std::move(*passed);
  }
  auto result = measure(
      model, pass, windows, [&](auto done, auto) { report(other_steps + done); }, kv);
  if (result) result->seconds = seconds_since(start);
  return result;
}

}  // namespace lowbit
