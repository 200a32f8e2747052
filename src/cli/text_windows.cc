#include "cli/text_windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/progress.h"
#include "base/sha256.h"
#include "runtime/generate.h"
#include "runtime/reference_model.h"

namespace lowbit {
namespace {

constexpr std::uint64_t kTextLimitBytes = std::uint64_t{1} << 32;

// Keys and values of the sequences sampled at a time stay below this.
constexpr std::int64_t kCacheBytes = std::int64_t{512} << 20;

using Windows = std::vector<std::vector<TokenId>>;

Result<std::string> read_text(const std::string& file) {
  return real_file_system().read(file, kTextLimitBytes);
}

Result<std::vector<TokenId>> tokens_of(const std::string& model_folder, const std::string& file,
                                       const std::string& text) {
  const Result<Tokenizer> tokenizer = Tokenizer::load(real_file_system(), model_folder);
  if (!tokenizer) return tokenizer.error();
  Result<std::vector<TokenId>> tokens = tokenizer->encode(text, SpecialTokens::none);
  if (!tokens) return within(file, std::move(tokens).error());
  return tokens;
}

std::int64_t sequences_at_once(const ModelSpec& model, std::int64_t length) {
  const std::int64_t bytes = model.blocks * 2 * model.kv_heads * model.head_dim *
                             static_cast<std::int64_t>(sizeof(float)) * length;
  return std::clamp<std::int64_t>(kCacheBytes / std::max<std::int64_t>(bytes, 1), 1, 64);
}

// Batches of one run draw from seeds of their own; neighbouring run seeds do not share any.
std::uint64_t batch_seed(std::uint64_t seed, std::int64_t batch) {
  return seed * 0x9e3779b97f4a7c15ULL + static_cast<std::uint64_t>(batch);
}

Windows run_of_windows(const std::vector<TokenId>& tokens, std::int64_t begin, std::int64_t count,
                       std::int64_t length) {
  Windows windows;
  for (std::int64_t i = begin; i < begin + count; ++i) {
    windows.emplace_back(tokens.begin() + i * length, tokens.begin() + (i + 1) * length);
  }
  return windows;
}

std::uint64_t seed_of(const TextChoice& choice, const CalibrationSpec& spec) {
  return choice.self_seed.value_or(static_cast<std::uint64_t>(spec.seed));
}

Journal::Inputs text_input(std::string fingerprint) {
  return {{"calibration text", std::move(fingerprint)}};
}

Journal::Inputs sampled_input(std::uint64_t seed) {
  return text_input(fmt::format("self:{}", seed));
}

Result<CalibrationText> sampled_calibration(const std::string& model_folder,
                                            const CalibrationSpec& spec, std::uint64_t seed) {
  CalibrationText text;
  Result<Windows> train =
      sample_windows({model_folder, spec.windows, spec.length, seed}, "sample calibration text");
  if (!train) return std::move(train).error();
  text.windows.train = std::move(*train);
  if (spec.validation_windows > 0) {
    // another seed: validation on windows that were trained on would measure nothing
    Result<Windows> validation = sample_windows(
        {model_folder, spec.validation_windows, spec.length, ~seed}, "sample validation text");
    if (!validation) return std::move(validation).error();
    text.windows.validation = std::move(*validation);
  }
  text.inputs = sampled_input(seed);
  return text;
}

}  // namespace

Result<TextChoice> parse_text_choice(const std::string& argument) {
  if (argument == "self") return TextChoice{};
  constexpr std::string_view kPrefix = "self:";
  if (!argument.starts_with(kPrefix)) return TextChoice{.file = argument, .self_seed = {}};
  std::uint64_t seed = 0;
  const char* end = argument.data() + argument.size();
  const auto [stopped, error] = std::from_chars(argument.data() + kPrefix.size(), end, seed);
  if (error != std::errc{} || stopped != end) {
    return usage_error("text/bad-seed",
                       fmt::format("'{}': expected a file, self, or self:SEED with a "
                                   "whole number",
                                   argument));
  }
  return TextChoice{.file = {}, .self_seed = seed};
}

Result<std::vector<TokenId>> file_tokens(const std::string& model_folder, const std::string& file) {
  const Result<std::string> text = read_text(file);
  if (!text) return text.error();
  return tokens_of(model_folder, file, *text);
}

Result<Windows> sample_windows(const SampledWindows& wanted, const std::string& label) {
  const Result<ReferenceModel> model =
      ReferenceModel::open(real_file_system(), wanted.model_folder);
  if (!model) return model.error();
  const std::int64_t at_once = sequences_at_once(model->spec(), wanted.length);
  Progress progress(label, wanted.windows * wanted.length);
  Windows windows;
  for (std::int64_t batch = 0; std::ssize(windows) < wanted.windows; ++batch) {
    const std::int64_t before = std::ssize(windows);
    const std::int64_t sequences = std::min(at_once, wanted.windows - before);
    const SamplingOptions options{.sequences = sequences,
                                  .length = wanted.length,
                                  .rule = {},
                                  .seed = batch_seed(wanted.seed, batch),
                                  .prompt = {}};
    Result<Windows> sampled = generate(*model, options, [&](std::int64_t done, std::int64_t) {
      progress.update(before * wanted.length + done * sequences);
    });
    if (!sampled) return sampled;
    std::move(sampled->begin(), sampled->end(), std::back_inserter(windows));
  }
  return windows;
}

Result<Windows> evaluation_windows(const std::string& model_folder, const std::string& sampler,
                                   const TextChoice& choice, const EvaluationOptions& options) {
  if (choice.sampled()) {
    const std::int64_t count = options.max_windows > 0 ? options.max_windows : kSampledWindows;
    return sample_windows({sampler, count, options.window_length, choice.self_seed.value_or(1)},
                          "sample text");
  }
  const Result<std::vector<TokenId>> tokens = file_tokens(model_folder, choice.file);
  if (!tokens) return tokens.error();
  auto windows = cut_windows(*tokens, options);
  if (!windows) return within(choice.file, std::move(windows).error());
  return windows;
}

Result<CalibrationText> cut_calibration(const std::vector<TokenId>& tokens,
                                        const CalibrationSpec& spec, const std::string& source) {
  const std::int64_t there = std::ssize(tokens) / spec.length;
  if (there < spec.windows) {
    return bad_input(
        "text/too-short",
        fmt::format("{}: {} tokens are {} windows of {}, expected {} windows ({} tokens); "
                    "give a longer text, or fewer (--nsamples) or shorter (--seqlen) "
                    "windows",
                    source, tokens.size(), there, spec.length, spec.windows,
                    spec.windows * spec.length));
  }
  CalibrationText text;
  text.windows.train = run_of_windows(tokens, 0, spec.windows, spec.length);
  const std::int64_t validation = std::min(spec.validation_windows, there - spec.windows);
  text.windows.validation = run_of_windows(tokens, spec.windows, validation, spec.length);
  if (validation < spec.validation_windows) {
    text.notices.push_back(
        fmt::format("{}: {} tokens leave {} validation windows of the {} asked for", source,
                    tokens.size(), validation, spec.validation_windows));
  }
  return text;
}

Result<CalibrationText> calibration_text(const std::string& model_folder, const TextChoice& choice,
                                         const CalibrationSpec& spec) {
  if (choice.sampled()) return sampled_calibration(model_folder, spec, seed_of(choice, spec));
  const Result<std::string> content = read_text(choice.file);
  if (!content) return content.error();
  const Result<std::vector<TokenId>> tokens = tokens_of(model_folder, choice.file, *content);
  if (!tokens) return tokens.error();
  Result<CalibrationText> text = cut_calibration(*tokens, spec, choice.file);
  if (text) text->inputs = text_input(sha256_hex(*content));
  return text;
}

Result<Journal::Inputs> calibration_inputs(const TextChoice& choice, const CalibrationSpec& spec) {
  if (choice.sampled()) return sampled_input(seed_of(choice, spec));
  const Result<std::string> content = read_text(choice.file);
  if (!content) return content.error();
  return text_input(sha256_hex(*content));
}

}  // namespace lowbit
