// A recipe: what to quantize to, on which text, by which passes. A TOML file under recipes/
// (compiled into the program under its name) or a file of the user's.
//
// Errors (kind usage): recipe/{unknown, syntax, missing-key, unknown-key, bad-value, unknown-pass};
// each names the file, the line and what is allowed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "format/kv_type.h"
#include "format/scheme.h"

namespace lowbit {

struct CalibrationSpec {
  std::int64_t windows = 128;
  std::int64_t length = 2048;            // tokens of a window
  std::int64_t validation_windows = 64;  // taken after the calibration windows; 0: none
  std::int64_t seed = 42;
};

// How a transform of inputs is learned (methods/learned_transform.h).
struct TransformTraining {
  double rate = 5e-3;  // AdamW, cosine to 0
  std::int64_t epochs = 8;
  std::int64_t batch = 4;    // windows a step
  std::int64_t windows = 0;  // of the calibration text that it looks at; 0: all
};

// smooth.*: channels of a linear's input divided by a scale that goes into the weights
// (methods/smooth.h).
enum class SmoothMethod { none, smoothquant, awq, fptq, omniquant };

struct SmoothSpec {
  SmoothMethod method = SmoothMethod::none;
  double alpha = 0.5;  // smoothquant: share of the difficulty that moves into the weights
  // v to o and up to down too, whose scale goes into the rows of a linear (AWQ); norms always
  bool linears = true;
  double plain_below = 15;  // fptq: largest inputs up to this stay as they are, with static ranges;
  double dynamic_from =
      150;  // from this on, with dynamic ones; between, equalised, with static ones
  TransformTraining training = {};  // omniquant

  bool learns() const { return method == SmoothMethod::omniquant && training.epochs > 0; }
};

// rotate.*: every linear's input in another basis at run time: a Hadamard matrix
// (methods/rotate.h), or one that is learned (methods/kronecker.h).
enum class RotateMethod { none, hadamard, kronecker };

struct RotateSpec {
  RotateMethod method = RotateMethod::none;
  TransformTraining training = {};  // kronecker

  bool learns() const { return method == RotateMethod::kronecker && training.epochs > 0; }
};

// solve.*: rounding that lets later inputs make up for the errors of earlier ones
// (methods/solve.h).
enum class SolveMethod { nearest, gptq, gptaq, quantease };
enum class TokenWeights { none, attention };  // methods/token_weights.h

struct SolveSpec {
  SolveMethod method = SolveMethod::nearest;
  double damping = 0.01;         // of the mean of the Hessian's diagonal; rises where it has to
  bool activation_order = true;  // large inputs first, with the range pass's groups; false: in
                                 // order, each group's range from the weights as they are by then
  std::int64_t windows = 0;      // of the calibration text that it looks at; 0: all
  double asymmetry = 0.25;       // gptaq: how far towards the float stream's inputs, 0..1
  double first_order = 0;        // gptq, gptaq: share by which columns are drawn back (FOEM), 0..1
  std::int64_t polish = 0;       // gptq, gptaq: passes of coordinate descent after it
  std::int64_t passes = 30;      // quantease: of coordinate descent
  std::int64_t refit = 0;        // times that scales are fitted to the codes in closed form, and
                                 // codes to these scales between (methods/refit.h)
  TokenWeights token_weights = TokenWeights::none;  // attention: tokens count by what they get
  double least_token_weight = 0.01;                 // of the largest, before their mean becomes 1

  double used_asymmetry() const { return method == SolveMethod::gptaq ? asymmetry : 0; }
  bool needs_teacher_inputs() const { return used_asymmetry() > 0; }
};

enum class Compensation { none, bias, low_rank };  // methods/bias.h, methods/low_rank.h

struct LowRankSpec {
  std::int64_t rank = 8;
  bool weighted = true;     // by the inputs that each column gets; false: every column alike
  std::int64_t rounds = 1;  // of solving and fitting in turn; the best one stays
};

// The learn pass (methods/learn_block.h): gradients through a block, FRM-PTQ and its relatives.
struct LearnSpec {
  std::int64_t epochs = 1;
  std::int64_t batch = 1;    // windows a step
  double scale_rate = 2e-5;  // AdamW, cosine to 0
  double zero_rate = 2e-5;
  double weight_rate = 0;     // 0: weights stay as they are
  double code_rate = 0;       // of the codes, in steps (methods/trained_weight.h), not the weights
  double norm_rate = 0;       // of the gains of norms
  double rounding_rate = 0;   // of a shift of each weight's rounding (methods/trained_weight.h)
  double clip_rate = 0;       // of the ends of each group's range, in the place of scales and zeros
  bool signed_steps = false;  // the sign of the gradient times the rate, which falls linearly, for
                              // roundings and clips; else AdamW
  bool relative_rates = false;  // steps of scales and weights are fractions of the start scale,
                                // those of gains fractions of the start gain
  double mse = 1.0;             // weights of the loss terms
  double token_relation = 1.0;
  double sinkhorn = 1.0;
  bool normalized_mse = false;       // MSE divided by the teacher's mean square
  std::int64_t relation_tokens = 0;  // tokens of a window that the two relation terms see; 0: all
  bool frozen_codes = false;         // codes stay at their start; scales alone are trained
  bool full_precision = false;       // float32 products even where bfloat16 ones are faster
  bool keep_best = false;            // restore the state of the best validation, not the last
};

// tune.*: after all blocks are packed, training through the whole model (methods/tune.h).
enum class TuneMethod { none, end_to_end };

struct TuneSpec {
  TuneMethod method = TuneMethod::none;
  std::int64_t epochs = 1;
  std::int64_t batch = 2;    // windows a step
  double scale_rate = 1e-3;  // AdamW, cosine to 0; a fraction of the start scale a step
  double code_rate = 0;      // the same of weights, in steps of their codes; 0: the codes stay
  double norm_rate = 1e-3;   // a fraction of the start gain, of the blocks' norms
  std::int64_t top = 0;      // tokens of the vocabulary that the loss sees, the likeliest; 0: all
};

// methods/range.h
enum class RangeMethod { min_max, mse_search, importance_search, percentile, hqq };
enum class ClipChoice { none, search };  // methods/clip.h

struct Recipe {
  std::string name;
  WeightScheme weights;
  ActivationScheme activations{.group_size = 0};  // per token and group, 0: that of the weight
  // The two tables at the ends of the model, [vocabulary, hidden]; 16 bits: left as they are.
  WeightScheme embedding{.bits = 16};  // where the head is tied to it, the one table
  WeightScheme head{.bits = 16};
  int head_activation_bits = 16;           // of the head's input; quantized: per token, symmetric
  KvType kv_cache = KvType::f16;           // of the packed model at run time: f16, int8 or int4
  std::vector<std::string> ignore;         // linears of blocks left in float: names
  std::string allocate = "uniform";        // "uniform" | "kurtosis-groups"
  std::int64_t sensitive_group_size = 32;  // kurtosis-groups: the two other sizes
  std::int64_t robust_group_size = 256;
  SmoothSpec smooth;
  RotateSpec rotate;
  RangeMethod range = RangeMethod::min_max;
  ClipChoice activation_clip = ClipChoice::none;  // none: that of the scheme
  SolveSpec solve;
  Compensation compensate = Compensation::none;
  LowRankSpec low_rank;
  std::vector<LearnSpec> learn;  // none: no gradients through a block
  TuneSpec tune;
  CalibrationSpec calibration;

  // Whether linears may end with static ranges of activations, or with nvfp4's scale of them.
  bool may_be_static() const {
    return activations.quantized() &&
           (activations.stores_scale() || smooth.method == SmoothMethod::fptq);
  }
  bool searches_clips() const {
    return activation_clip == ClipChoice::search && activations.quantized();
  }
  // Of the passes that learn one, in order.
  std::vector<TransformTraining> learned_transforms() const {
    std::vector<TransformTraining> learned;
    if (smooth.learns()) learned.push_back(smooth.training);
    if (rotate.learns()) learned.push_back(rotate.training);
    return learned;
  }
  bool corrects_biases() const { return compensate == Compensation::bias; }
  bool adds_low_rank() const { return compensate == Compensation::low_rank; }
  // Whether the second moments of linears' inputs are taken.
  bool takes_moments() const {
    return solve.method != SolveMethod::nearest || (adds_low_rank() && low_rank.weighted);
  }
  // Whether a pass looks at what the float block gets, beside what the packed one does.
  bool needs_teacher_inputs() const { return solve.needs_teacher_inputs() || corrects_biases(); }
  bool needs_calibration() const {
    return rotate.learns() || !learn.empty() || corrects_biases() ||
           range == RangeMethod::importance_search || searches_clips() || may_be_static() ||
           smooth.method != SmoothMethod::none || takes_moments() ||
           tune.method != TuneMethod::none;
  }
};

// A built-in name ("paper/frm-w4a4"), or a path that ends in .toml.
Result<Recipe> load_recipe(FileSystem& files, const std::string& name_or_path);
Result<Recipe> parse_recipe(std::string_view toml,
                            const std::string& source);  // source: for errors
// `--set learn.epochs=2`; the keys are those of the file. Errors as above.
Status set_recipe_key(Recipe& recipe, const std::string& assignment);
std::string to_toml(const Recipe& recipe);  // every value, in a fixed order
std::vector<std::string> built_in_recipes();
// "W4A4", "light" -> "light-w4a4", in any letter case. The presets: light, without gradients;
// default; best, which trains for longer.
Result<std::string> preset_recipe(const std::string& scheme, const std::string& preset = "default");

}  // namespace lowbit
