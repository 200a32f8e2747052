#include "methods/trained_weight.h"

#include <utility>

#include "methods/training.h"

namespace lowbit {
namespace {

constexpr double kFirstLogit = 4;            // of a clip: a share of 0.982
constexpr double kSmallestShare = 1.0 / 64;  // of a grid, what clips leave of it at least

Tensor cloned(const Tensor& tensor) { return tensor.defined() ? tensor.clone() : Tensor(); }

double levels(const WeightScheme& scheme) { return (1 << scheme.bits) - 1; }

// [out, in] as [out, groups, group].
Tensor by_group(const Tensor& values, const Tensor& scale) {
  return values.view({scale.size(0), scale.size(1), -1});
}

}  // namespace

TrainedWeight::TrainedWeight(const LearnSpec& spec, const WeightScheme& scheme, Tensor weight,
                             const GroupParameters& start)
    : spec_(spec), scheme_(scheme) {
  const bool fixed = spec.frozen_codes || spec.code_rate > 0;
  state_.parameters = fixed ? freeze_codes(weight, start, scheme) : start;
  state_.weight = std::move(weight);
  start_ = state_.parameters;
  if (spec.code_rate > 0) {
    const Tensor steps = by_group(state_.weight, start_.scale) / start_.scale.unsqueeze(2);
    state_.codes = (steps + start_.zero.unsqueeze(2)).view_as(state_.weight);
    keep_within_codes(state_.codes, scheme.bits);
  }
  if (spec.rounding_rate > 0) state_.shift = at::zeros_like(state_.weight);
  if (spec.clip_rate > 0) {
    const double first = spec.signed_steps ? 1 : kFirstLogit;
    state_.clips =
        at::full({2, start.scale.size(0), start.scale.size(1)}, first, start.scale.options());
  }
  state_ = copy_of(state_);
  if (state_.clips.defined()) set_clipped_range();
}

TrainedWeight::State TrainedWeight::copy_of(const State& state) const {
  return {.parameters = {.scale = state.parameters.scale.clone(),
                         .zero = state.parameters.zero.clone(),
                         .centered = state.parameters.centered},
          .weight = trains_weight() ? state.weight.clone() : state.weight,
          .codes = cloned(state.codes),
          .shift = cloned(state.shift),
          .clips = cloned(state.clips)};
}

TrainedWeight::State TrainedWeight::snapshot() const { return copy_of(state_); }

Tensor TrainedWeight::weight() const {
  const Tensor& scale = state_.parameters.scale;
  const auto scaled = [&](const Tensor& steps) {
    return (by_group(steps, scale) * scale.unsqueeze(2)).view_as(state_.weight);
  };
  if (state_.codes.defined()) {
    return scaled(by_group(state_.codes, scale) - state_.parameters.zero.unsqueeze(2));
  }
  return state_.shift.defined() ? state_.weight + scaled(state_.shift) : state_.weight;
}

Tensor TrainedWeight::dequantized() const {
  return fake_quant_weight(weight(), state_.parameters, scheme_);
}

void TrainedWeight::move(const Tensor& parameter, const Tensor& gradient, Moments& moments,
                         AdamStep step) const {
  if (spec_.signed_steps) {
    parameter.sub_(gradient.sign(), step.rate);
  } else {
    adam(parameter, gradient, moments, step, {});
  }
}

TrainedWeight::Gradient TrainedWeight::gradient(const Tensor& upstream) const {
  const GroupParameters& p = state_.parameters;
  const FakeQuantGradient found = fake_quant_weight_backward(weight(), p, scheme_, upstream);
  Gradient result{
      .weight = found.weight, .scale = found.scale, .zero = found.zero, .codes = found.codes};
  if (state_.shift.defined()) {
    // The kernel's gradient is of a weight w + v s that does not move with s.
    result.scale = found.scale + by_group(found.weight * state_.shift, p.scale).sum(2);
    result.shift = (by_group(found.weight, p.scale) * p.scale.unsqueeze(2)).view_as(state_.shift);
  }
  if (state_.clips.defined()) result.clips = clip_gradient(result.scale, found.zero);
  return result;
}

Tensor TrainedWeight::clip_gradient(const Tensor& by_scale, const Tensor& by_zero) const {
  const Tensor shares = clip_shares();
  Tensor by_shares;
  if (scheme_.symmetric) {
    by_shares = at::stack({by_scale * start_.scale, at::zeros_like(by_scale)});
  } else {
    // s = (hi - lo) / L and z = -lo / s, each by lo and by hi.
    const double top = levels(scheme_);
    const Tensor& s = state_.parameters.scale;
    const Tensor reach_low = -start_.zero * start_.scale;          // lo by a
    const Tensor reach_high = (top - start_.zero) * start_.scale;  // hi by b
    const Tensor through_zero = spec_.signed_steps ? by_zero : at::zeros_like(by_zero);
    const Tensor by_s = by_scale + through_zero * shares[0] * reach_low / s.square();
    by_shares = at::stack({(-by_s / top - through_zero / s) * reach_low, by_s / top * reach_high});
  }
  return spec_.signed_steps ? by_shares : by_shares * shares * (1 - shares);
}

void TrainedWeight::step(const Tensor& upstream, double share, std::int64_t number) {
  const auto at_rate = [&](double rate) {
    return AdamStep{.rate = rate * share, .number = number};
  };
  GroupParameters& p = state_.parameters;
  const Gradient down = gradient(upstream);
  const Tensor unit = spec_.relative_rates ? start_.scale : Tensor();
  if (state_.codes.defined()) {
    step_codes(state_.codes, down.codes, scheme_.bits, moments_.codes, at_rate(spec_.code_rate));
    p.centered =
        (by_group(state_.codes.round(), p.scale) - p.zero.unsqueeze(2)).view_as(state_.codes);
  }
  if (state_.shift.defined()) {
    move(state_.shift, down.shift, moments_.shift, at_rate(spec_.rounding_rate));
  }
  if (trains_weight()) {
    step_weight(state_.weight, down.weight, moments_.weight, at_rate(spec_.weight_rate), unit);
  }
  if (state_.clips.defined()) {
    move(state_.clips, down.clips, moments_.clips, at_rate(spec_.clip_rate));
    if (spec_.signed_steps) state_.clips.clamp_(0, 1);
    return set_clipped_range();
  }
  if (spec_.scale_rate > 0) {
    step_scale(p.scale, start_.scale, down.scale, moments_.scale, at_rate(spec_.scale_rate), unit);
  }
  const bool fixed_zero = p.centered.defined() || scheme_.symmetric;
  if (fixed_zero || spec_.zero_rate <= 0) return;
  adam(p.zero, down.zero, moments_.zero, at_rate(spec_.zero_rate), {});
}

Tensor TrainedWeight::clip_shares() const {
  return spec_.signed_steps ? state_.clips : state_.clips.sigmoid();
}

void TrainedWeight::set_clipped_range() {
  const Tensor shares = clip_shares();
  GroupParameters& p = state_.parameters;
  const Tensor smallest = start_.scale * kSmallestShare;
  if (scheme_.symmetric) {
    p.scale = at::maximum(shares[0] * start_.scale, smallest);
    return;
  }
  const double top = levels(scheme_);
  const Tensor low = -shares[0] * start_.zero * start_.scale;
  const Tensor high = shares[1] * (top - start_.zero) * start_.scale;
  p.scale = at::maximum((high - low) / top, smallest);
  p.zero = (-low / p.scale).round().clamp(0, top);
}

}  // namespace lowbit
