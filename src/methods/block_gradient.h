// Gradients of one window through a block whose weights are quantized.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "calib/block.h"
#include "calib/pipeline.h"
#include "calib/student.h"
#include "methods/training.h"

namespace lowbit {

struct GradientQuery {
  std::span<const PlannedLinear> linears;
  std::vector<std::size_t> weights;  // linears whose weights are asked about
  std::vector<std::string> gains;    // tensors of norms that are, or biases
  bool input = false;                // whether the block's input is
  // What a transform that is learned is made of, and how it makes the input of a linear, before
  // that is quantized; gradients then go through the ranges of the inputs too. None: inputs are
  // taken as the schemes say.
  std::vector<Tensor> parts = {};
  std::function<Tensor(std::size_t linear, const Tensor& x, const std::vector<Tensor>& parts)>
      input_of = {};
  Precision precision = Precision::float32;
};

struct BlockGradient {
  std::vector<Tensor> weights;  // by the linears' dequantized weights; empty: no gradient
  std::vector<Tensor> gains;
  std::vector<Tensor> parts;
  Tensor input;  // [tokens, width]
};

// x [tokens, width]; `weights` are those of all products, dequantized. `upstream` gets the block's
// output and returns the gradient by it, or an undefined tensor to leave it at that. Leaves are of
// this call alone, so that windows run on several threads.
BlockGradient block_gradient(const TorchBlock& block, const GradientQuery& query,
                             const std::vector<Tensor>& weights, const Tensor& x,
                             const std::function<Tensor(const Tensor& output)>& upstream);

// The mean of windows' gradients, all of them of the same query and none empty; without inputs.
BlockGradient mean_of(const std::vector<BlockGradient>& windows);

struct WindowLoss {
  double loss = 0;
  Tensor gradient;  // by the block's output
};
struct MeanGradient {
  double loss = 0;     // over the windows
  BlockGradient mean;  // empty where the loss is not finite
};
// Over some training windows of the task, a thread each. `loss_of` is called on these threads.
MeanGradient mean_gradient(
    const BlockTask& task, const GradientQuery& query, const std::vector<Tensor>& weights,
    WindowRange windows,
    const std::function<WindowLoss(std::int64_t window, const Tensor& output)>& loss_of);

}  // namespace lowbit
