// Fake quantization of tensors: our kernels on the CPU, tensor operations elsewhere. The versions
// in tensor operations are also the reference that the kernels are tested against.
#pragma once

#include "calib/tensor.h"
#include "format/scheme.h"

namespace lowbit {

// Scales and zero points of one weight, float32, [out, groups] each.
// With `centered` defined, [out, in], the codes are fixed: the weight is centered * scale, where
// centered is code - zero; otherwise they are the nearest for the current scale and zero.
struct GroupParameters {
  Tensor scale;
  Tensor zero;
  Tensor centered = {};
  // Of a value format with one: scales are stored times this (format/value_grid.h).
  float global_scale = 1;
};

// Fixes the codes at the nearest for these parameters.
GroupParameters freeze_codes(const Tensor& weight, const GroupParameters& parameters,
                             const WeightScheme& scheme);

// Dequantized codes of `weight` [out, in] (frm sheet: weight quantiser). No gradient is recorded.
// Of weights in a value format too; all other functions of weights are for integers.
Tensor fake_quant_weight(const Tensor& weight, const GroupParameters& parameters,
                         const WeightScheme& scheme);
// Gradients of a loss with respect to scale and zero (scale alone when the codes are fixed), from
// that with respect to the result above, straight through the rounding. By the weight itself it is
// `upstream` where the weight lies within the range, 0 where it is clipped.
struct FakeQuantGradient {
  Tensor scale, zero;  // [out, groups]
  Tensor weight;       // [out, in], undefined when the codes are fixed
  Tensor codes = {};   // [out, in], straight through the rounding of fixed ones; else undefined
};
FakeQuantGradient fake_quant_weight_backward(const Tensor& weight,
                                             const GroupParameters& parameters,
                                             const WeightScheme& scheme, const Tensor& upstream);

// Quantization of x [tokens, in], dynamic while a static scheme's scale is not known yet (that of
// an nvfp4 input has to be), straight-through: its gradient is the identity, of what is clipped
// too. Without one there, a block could not learn to make those values smaller.
Tensor fake_quant_activation(const Tensor& x, const ActivationScheme& scheme);

// To the nearest integer; its gradient is the identity.
Tensor straight_round(const Tensor& x);

// The same three in tensor operations, for any float dtype and device. Of integers, the first and
// the last are differentiable as they stand, by the scales and by what a dynamic range comes from
// too: smaller ranges have smaller steps, which is what a transform of inputs is learned for.
Tensor fake_quant_weight_reference(const Tensor& weight, const GroupParameters& parameters,
                                   const WeightScheme& scheme);
FakeQuantGradient fake_quant_weight_backward_reference(const Tensor& weight,
                                                       const GroupParameters& parameters,
                                                       const WeightScheme& scheme,
                                                       const Tensor& upstream);
Tensor fake_quant_activation_reference(const Tensor& x, const ActivationScheme& scheme);

}  // namespace lowbit
