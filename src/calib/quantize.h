// What a quantizing run takes and reports; no LibTorch here. methods/quantize.h runs it.
// Errors: quantize/{no-calibration-text, text-too-short, non-finite, device, no-cuda} and those of
// plan.h, journal.h and the readers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "io/checkpoint.h"
#include "recipe/plan.h"
#include "text/tokenizer.h"

namespace lowbit {

struct CalibrationWindows {
  std::vector<std::vector<TokenId>> train;
  std::vector<std::vector<TokenId>> validation;  // may be empty
};

struct QuantizeOptions {
  Path output;
  std::string device = "cpu";  // "cpu", "cuda", "cuda:1"
  Path offload_dir;            // streams of hidden states go here; empty: kept in memory
  bool restart = false;        // forget an unfinished run in `output`
  // What decides the windows besides the recipe, for the journal: ("calibration text", sha256), ...
  std::vector<std::pair<std::string, std::string>> inputs;
  // Called after every training step and block; empty: silent. `fraction` of the whole run, 0..1.
  std::function<void(double fraction, const std::string& detail)> on_progress;
};

struct BlockReport {
  std::int64_t index = 0;
  double loss_before = 0;  // validation (or training) loss with the starting ranges
  double loss_after = 0;
  double mse_before = 0;  // MSE relative to the teacher's mean square
  double mse_after = 0;
  double seconds = 0;
  std::vector<ActivationScheme> activations;      // of each linear; empty: those of the plan
  std::map<std::string, double> low_rank_shares;  // of each linear's weighted error: what its pair
                                                  // takes away
  std::vector<std::string> notices;               // a skipped step, a restored state, ...
};

struct TuneReport {      // of the stage that trains through the whole model
  double kl_before = 0;  // to the source, nats a token, over the validation windows
  double kl_after = 0;
  double seconds = 0;
  std::vector<std::string> notices;
};

struct QuantizeReport {
  std::vector<BlockReport> blocks;
  std::optional<TuneReport> tune;
  double bits_per_weight = 0;
  std::uint64_t output_bytes = 0;
  double seconds = 0;
  bool already_complete = false;  // the folder held the result of this very run; nothing was done
};

}  // namespace lowbit
