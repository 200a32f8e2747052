// Where a block's channels can be moved without a change of its function: linears that share an
// input, and what makes that input. Each channel of the input may lose a shift and be divided by a
// scale: y = W x + b = (W s) ((x - d) / s) + (b + W d). What makes the input, a norm or the rows of
// a linear, takes the shift and the division; the student of the task is changed.
#pragma once

#include <optional>
#include <vector>

#include "calib/pipeline.h"

namespace lowbit {

struct Place {
  LinearSet consumers;
  const NormSpec* norm = nullptr;     // of the student's BlockSpec
  std::optional<std::size_t> linear;  // else
  bool through_gate = false;          // the linear's rows are multiplied before they are the input
};

// The norms' places, and those of v (for o) and up (for down), where it is multiplied by a gate: no
// scale passes through another activation.
std::vector<Place> norm_places(const BlockSpec& block);
std::vector<Place> linear_places(const BlockSpec& block);

// Heads that share a key-value head share its channels. Of values [in] the largest for each
// channel [channels], and back.
Tensor shared(const BlockTask& task, const Place& place, const Tensor& by_input);
Tensor spread(const BlockTask& task, const Place& place, const Tensor& by_channel);

// Whether a shift has biases to go into, on both sides.
bool takes_shift(const BlockTask& task, const Place& place);
// The biases of the consumers when the input is less by `shift` [channels], under the weights and
// biases of `block`; differentiable.
TorchBlock::Floats shifted_biases(const BlockTask& task, const TorchBlock& block,
                                  const Place& place, const Tensor& shift);
void shift_input(const BlockTask& task, const Place& place, const Tensor& shift);
void divide_input(const BlockTask& task, const Place& place, Tensor scale);

}  // namespace lowbit
