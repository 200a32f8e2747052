#include "calib/head.h"

#include "calib/block.h"
#include "calib/fake_quant.h"

namespace lowbit {

Result<TorchHead> TorchHead::load(const Checkpoint& checkpoint, const ModelSpec& model,
                                  const LinearScheme* scheme, const at::Device& device) {
  TorchHead head;
  head.epsilon_ = model.norm_epsilon;
  const auto floats = [&](const std::string& name,
                          std::vector<std::int64_t> shape) -> Result<Tensor> {
    auto values = checkpoint.floats(name, shape);
    if (!values) return values.error();
    return to_tensor(*values, std::move(shape)).to(device);
  };
  const std::vector<std::int64_t> shape = {model.vocabulary, model.hidden};
  Result<Tensor> weight = Tensor();
  if (scheme != nullptr) {
    head.activation_ = scheme->activation;
    auto packed = read_group_affine(checkpoint, model.head_name, model.vocabulary, model.hidden,
                                    scheme->weight);
    if (!packed) return packed.error();
    weight = to_tensor(packed->dequantize(), shape).to(device);
  } else {
    weight = floats(model.head_name + ".weight", shape);
  }
  if (!weight) return weight.error();
  head.weight_ = *weight;
  const NormSpec& norm = model.final_norm;
  auto gain = floats(norm.name + ".weight", {norm.width});
  if (!gain) return gain.error();
  head.gain_ = *gain;
  if (model.norm != NormKind::layer) return head;
  auto bias = floats(norm.name + ".bias", {norm.width});
  if (!bias) return bias.error();
  head.bias_ = *bias;
  return head;
}

Tensor TorchHead::input(const Tensor& hidden) const {
  const Tensor states = apply_norm(hidden, gain_, bias_, epsilon_);
  return activation_.quantized() ? fake_quant_activation(states, activation_) : states;
}

}  // namespace lowbit
