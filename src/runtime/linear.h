// Applying loaded linears, sharing what several of them can share.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/reference_model.h"

namespace lowbit {

// The input of one or several linears: it is transformed, and its codes or rounded values are made,
// once for all that do both alike (q, k and v; gate and up). What was made for the last linear is
// kept, so linears that differ are right, but slower.
class LinearInput {
 public:
  LinearInput(std::span<const float> x,  // [tokens, in]
              std::int64_t in);

  std::int64_t tokens() const { return std::ssize(x_) / in_; }
  std::int64_t in() const { return in_; }
  // As a linear multiplies them: [tokens, in], transformed. Good until another transform is asked
  // for.
  std::span<const float> values(const InputTransform& transform);
  // The same rounded to the scheme's value format, where it has one.
  std::span<const float> values(const InputTransform& transform, const ActivationScheme& scheme);
  const QuantizedActivations& codes(const InputTransform& transform,
                                    const ActivationScheme& scheme);
  const PackedActivations& codes(const InputTransform& transform, const ActivationScheme& scheme,
                                 std::int64_t weight_group);

 private:
  void forget_other_than(const InputTransform& transform, const ActivationScheme& scheme);

  std::span<const float> x_;
  std::int64_t in_;
  InputTransform turned_by_;  // gave the values below
  std::vector<float> turned_;
  InputTransform transform_;  // of the codes or rounded values below
  ActivationScheme scheme_;
  std::optional<QuantizedActivations> codes_;
  std::optional<PackedActivations> packed_codes_;
  std::vector<float> rounded_;
};

void apply(const LoadedLinear& linear, LinearInput& x, std::span<float> y);  // [tokens, out]

// Several linears of one input: where their kernels, schemes and transforms are the same, the
// threads are woken once for all of them.
struct LinearOutput {
  const LoadedLinear* linear = nullptr;
  std::span<float> y;  // [tokens, out]
};
void apply_all(std::span<const LinearOutput> outputs, LinearInput& x);

}  // namespace lowbit
