// Token windows for calibration and evaluation: cut from a text file, or sampled by the model
// itself.
//
// Errors: text/{bad-seed, too-short} and those of the tokenizer, the readers and the sampler.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calib/quantize.h"
#include "eval/evaluate.h"
#include "io/journal.h"
#include "recipe/recipe.h"
#include "text/tokenizer.h"

namespace lowbit {

// FILE, "self" or "self:SEED", as --calib and --text have it. A file of that name is "./self".
struct TextChoice {
  std::string file;                        // empty: sampled
  std::optional<std::uint64_t> self_seed;  // of "self:SEED"

  bool sampled() const { return file.empty(); }
};
Result<TextChoice> parse_text_choice(const std::string& argument);

// The whole file as tokens, no special ones added.
Result<std::vector<TokenId>> file_tokens(const std::string& model_folder, const std::string& file);

// Windows that the model samples; the same seed, the same windows.
struct SampledWindows {
  std::string model_folder;
  std::int64_t windows = 0;
  std::int64_t length = 0;
  std::uint64_t seed = 0;
};
Result<std::vector<std::vector<TokenId>>> sample_windows(const SampledWindows& wanted,
                                                         const std::string& label);

// The windows that a model is measured on. Sampled by `sampler` where that is asked for, 16 when
// `options` does not say how many; cut from the file's tokens else.
Result<std::vector<std::vector<TokenId>>> evaluation_windows(const std::string& model_folder,
                                                             const std::string& sampler,
                                                             const TextChoice& choice,
                                                             const EvaluationOptions& options);
inline constexpr std::int64_t kSampledWindows = 16;

// Training windows first, validation after them in the text; when the text is short there are fewer
// validation windows and a notice. What decides the windows goes to `inputs`, for the journal.
struct CalibrationText {
  CalibrationWindows windows;
  Journal::Inputs inputs;
  std::vector<std::string> notices;
};
Result<CalibrationText> calibration_text(const std::string& model_folder, const TextChoice& choice,
                                         const CalibrationSpec& spec);
// The inputs alone, without sampling or cutting a window.
Result<Journal::Inputs> calibration_inputs(const TextChoice& choice, const CalibrationSpec& spec);
// The text from tokens that are there.
Result<CalibrationText> cut_calibration(const std::vector<TokenId>& tokens,
                                        const CalibrationSpec& spec, const std::string& source);

}  // namespace lowbit
