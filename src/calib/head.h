// What follows the last block, in LibTorch: the final norm and the head.
#pragma once

#include "calib/tensor.h"
#include "format/packed_checkpoint.h"
#include "io/checkpoint.h"
#include "model/model_spec.h"

namespace lowbit {

class TorchHead {
 public:
  // `scheme` as the checkpoint's head has it, decoded to float32; null: a float head.
  static Result<TorchHead> load(const Checkpoint& checkpoint, const ModelSpec& model,
                                const LinearScheme* scheme, const at::Device& device);

  // The head's input [tokens, hidden] from the last block's output: normed, and quantized where
  // the scheme says so. Differentiable, straight-through.
  Tensor input(const Tensor& hidden) const;
  // input W^T, [tokens, vocabulary], and for a gradient by it the one by the input.
  Tensor logits(const Tensor& input) const { return input.matmul(weight_.t()); }
  Tensor backward(const Tensor& by_logits) const { return by_logits.matmul(weight_); }

 private:
  Tensor weight_;  // [vocabulary, hidden]
  Tensor gain_, bias_;
  double epsilon_ = 0;
  ActivationScheme activation_;
};

}  // namespace lowbit
