// A transform of the inputs of a block's linears, learned: the training that rotate.kronecker and
// smooth.omniquant share. The block's output, with the weights rounded to nearest in their min-max
// ranges and the inputs quantized as their schemes say, is to match the teacher's.
//
// Squared error over that of the change of the stream by the block; gradients go straight through
// the rounding, and through the ends of the ranges, which are what a transform can make smaller.
// AdamW without decay, cosine to 0. What was learned is measured as it is stored, by the validation
// windows; where that is no better than the start, the start stays.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "calib/pipeline.h"

namespace lowbit {

using Tensors = std::vector<Tensor>;

// The task's student and its linears' schemes have the start. All functions but the last are
// differentiable, and give the linears what they would get with `parts` in the place of the start;
// while they are called the student has its weights from the start.
struct LearnedTransform {
  std::string name;                                         // for progress and notices: "scales"
  Tensors parameters;                                       // what is trained, on the task's device
  std::function<Tensors(const Tensors& parameters)> parts;  // what the parameters mean
  std::function<Tensor(std::size_t linear, const Tensors& parts)> weight;  // [out, in]
  std::function<Tensor(std::size_t linear, const Tensor& x, const Tensors& parts)> input;
  std::function<TorchBlock::Floats(const Tensors& parts)>
      biases;                                       // those that change; may be empty
  std::function<void(const Tensors& parts)> store;  // in the task, as it is kept on disk
};

Status learn_transform(BlockTask& task, const TransformTraining& training,
                       LearnedTransform transform);

}  // namespace lowbit
