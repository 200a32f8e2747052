// One decoder block in LibTorch, differentiable: the float forward pass with its linear products
// left to the caller, so that teacher, student in training and packed student share one definition.
//
// Tensors are [tokens, width], float32, one window at a time.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "calib/attention.h"
#include "calib/tensor.h"
#include "io/checkpoint.h"
#include "model/model_spec.h"

namespace lowbit {

// RMSNorm of rows, or LayerNorm where there is a bias; differentiable.
Tensor apply_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon);

class TorchBlock {
 public:
  static Result<TorchBlock> load(const Checkpoint& checkpoint, const ModelSpec& model,
                                 std::int64_t index, const at::Device& device);

  const BlockSpec& spec() const { return spec_; }
  std::size_t linears() const { return weights_.size(); }  // in the order of BlockSpec::linears()
  const Tensor& weight(std::size_t linear) const { return weights_[linear]; }  // [out, in]
  const Tensor& bias(std::size_t linear) const { return biases_[linear]; }     // [out] or undefined
  // A copy shares its tensors; this gives it another in the place of one.
  void set_weight(std::size_t linear, Tensor weight) { weights_[linear] = std::move(weight); }

  // All but the linears' weights, by the names of their tensors: gains and biases of norms, biases
  // of linears. `set_floats` takes some of them, of any float type.
  using Floats = std::map<std::string, Tensor>;
  Floats floats() const;
  void set_floats(const Floats& floats);

  // The products of one input with each of some linears, biases included. Linears that share an
  // input (q, k, v; gate, up) come in one call, so that the input is quantized once. No products
  // at all end the forward pass there, whose result is then undefined.
  using Products =
      std::function<std::vector<Tensor>(std::span<const std::size_t> linears, const Tensor& x)>;
  Tensor forward(const Tensor& x, const Products& products) const;
  Tensor forward(const Tensor& x) const;  // with the float weights

  // How much attention each token of x gets in the block, over heads and queries: [tokens], in sum
  // heads times tokens.
  Tensor attention_received(const Tensor& x, const Products& products) const;

 private:
  Tensor norm(const Tensor& x, const NormSpec& spec) const;
  struct Rotation {
    Tensor cosine, sine;  // [tokens, head_dim / 2]
  };
  Rotation rotation(std::int64_t tokens) const;
  static Tensor rotate(const Tensor& heads, const Rotation& by);  // [heads, tokens, head_dim]
  // What attention works on, norms and rotation done: [heads, tokens, head_dim], kv_heads for k and
  // v. Undefined where the products end the pass.
  struct Heads {
    Tensor q, k, v;
  };
  Heads heads(const Tensor& x, const Products& products) const;
  AttentionShape attention_shape() const;
  Tensor attention(const Tensor& x, const Products& products) const;
  Tensor feed_forward(const Tensor& x, const Products& products) const;

  ModelSpec model_;
  BlockSpec spec_;
  std::vector<Tensor> weights_, biases_;
  std::map<std::string, Tensor> norm_weights_, norm_biases_;
  Tensor inverse_frequencies_;  // [head_dim / 2], undefined without RoPE
};

}  // namespace lowbit
