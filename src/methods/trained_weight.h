// One quantized weight while its block learns: what is trained of it, and its steps.
//
//   w' = (clamp(round(w / s + v) + z, 0, L) - z) s,   L = 2^b - 1
//
// or, with a rate for codes, w' = (clamp(round(c), 0, L) - z) s: the codes c [out, in] themselves
// are trained, as real numbers that start at w / s + z and stay where they round to a code. Unlike
// with a w of its own a step of s then moves all weights of its group, and its gradient is exact.
//
// v [out, in] shifts the rounding (AutoRound, arXiv 2309.05516). With clips, s and z follow from
// shares a, b [out, groups] of the ends of the grid that the passes before left, [-z0 s0,
// (L - z0) s0]:
//   lo = -a z0 s0, hi = b (L - z0) s0, s = (hi - lo) / L, z = round(-lo / s); symmetric: s = a s0.
// Signed steps train the shares themselves, from 1 and kept in 0..1 (AutoRound); others train their
// logits, from 4 (OmniQuant, arXiv 2308.13137, learnable weight clipping). Gradients go straight
// through the rounding of w, and for AutoRound's shares through that of z too; OmniQuant's clips
// learn through s alone.
#pragma once

#include "calib/fake_quant.h"
#include "methods/adam.h"
#include "recipe/recipe.h"

namespace lowbit {

class TrainedWeight {
 public:
  // `weight` [out, in] float32; tensors that are trained become copies.
  TrainedWeight(const LearnSpec& spec, const WeightScheme& scheme, Tensor weight,
                const GroupParameters& start);

  const GroupParameters& parameters() const { return state_.parameters; }
  Tensor weight() const;       // [out, in]; its nearest codes under `parameters` are the ones meant
  Tensor dequantized() const;  // [out, in]

  // Gradients by what may be trained, from `upstream` [out, in], that by `dequantized`.
  struct Gradient {
    Tensor weight, scale, zero;                 // of the weight undefined where the codes are fixed
    Tensor codes = {}, shift = {}, clips = {};  // undefined where there are none
  };
  Gradient gradient(const Tensor& upstream) const;
  // One step down `upstream`. `share` of the rates; `number` counts steps from 1.
  void step(const Tensor& upstream, double share, std::int64_t number);

  struct State {
    GroupParameters parameters;
    Tensor weight;      // [out, in]
    Tensor codes = {};  // [out, in]; undefined: they follow from the weight
    Tensor shift = {};  // [out, in]; undefined: 0
    Tensor clips = {};  // [2, out, groups], a and b or their logits; undefined: no clips
  };
  State snapshot() const;
  void restore(const State& state) { state_ = copy_of(state); }

 private:
  bool trains_weight() const { return spec_.weight_rate > 0 && !spec_.frozen_codes; }
  State copy_of(const State& state) const;  // what does not change is shared
  Tensor clip_gradient(const Tensor& by_scale, const Tensor& by_zero) const;
  Tensor clip_shares() const;  // [2, out, groups]
  void set_clipped_range();
  // Changes `parameter` by a step of the spec's kind.
  void move(const Tensor& parameter, const Tensor& gradient, Moments& moments, AdamStep step) const;

  LearnSpec spec_;
  WeightScheme scheme_;
  GroupParameters start_;
  State state_;
  struct {
    Moments scale, zero, weight, codes, shift, clips;
  } moments_;
};

}  // namespace lowbit
