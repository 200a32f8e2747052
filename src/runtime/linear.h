// Applying loaded linears, sharing what several of them can share.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "runtime/reference_model.h"

namespace lowbit {

// The input of one or several linears: its codes are made once for all that quantize it alike (q, k
// and v; gate and up).
class LinearInput {
 public:
  LinearInput(std::span<const float> x,  // [tokens, in]
              std::int64_t in);

  std::span<const float> values() const { return x_; }
  std::int64_t tokens() const { return std::ssize(x_) / in_; }
  std::int64_t in() const { return in_; }
  const QuantizedActivations& codes(const ActivationScheme& scheme);
  const PackedActivations& codes(const ActivationScheme& scheme, std::int64_t weight_group);

 private:
  void forget_other_than(const ActivationScheme& scheme);

  std::span<const float> x_;
  std::int64_t in_;
  ActivationScheme scheme_;  // of the codes below
  std::optional<QuantizedActivations> codes_;
  std::optional<PackedActivations> packed_codes_;
};

void apply(const LoadedLinear& linear, LinearInput& x, std::span<float> y);  // [tokens, out]

// Several linears of one input: where their kernels and schemes are the same, the threads are woken
// once for all of them.
struct LinearOutput {
  const LoadedLinear* linear = nullptr;
  std::span<float> y;  // [tokens, out]
};
void apply_all(std::span<const LinearOutput> outputs, LinearInput& x);

}  // namespace lowbit
