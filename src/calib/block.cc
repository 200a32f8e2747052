#include "calib/block.h"

#include <array>
#include <cmath>
#include <cstring>

namespace lowbit {

Tensor apply_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  if (bias.defined()) return at::layer_norm(x, {weight.size(0)}, weight, bias, epsilon);
  return x * at::rsqrt(x.square().mean(-1, true) + epsilon) * weight;
}

Result<TorchBlock> TorchBlock::load(const Checkpoint& checkpoint, const ModelSpec& model,
                                    std::int64_t index, const at::Device& device) {
  TorchBlock block;
  block.model_ = model;
  block.spec_ = model.block(index);
  for (const LinearSpec* linear : block.spec_.linears()) {
    auto weight = checkpoint.floats(linear->name + ".weight", {linear->out, linear->in});
    if (!weight) return weight.error();
    block.weights_.push_back(to_tensor(*weight, {linear->out, linear->in}).to(device));
    Tensor bias;
    if (linear->bias) {
      auto values = checkpoint.floats(linear->name + ".bias", {linear->out});
      if (!values) return values.error();
      bias = to_tensor(*values, {linear->out}).to(device);
    }
    block.biases_.push_back(bias);
  }
  for (const NormSpec* norm : block.spec_.norms()) {
    auto weight = checkpoint.floats(norm->name + ".weight", {norm->width});
    if (!weight) return weight.error();
    block.norm_weights_[norm->name] = to_tensor(*weight, {norm->width}).to(device);
    if (model.norm != NormKind::layer) continue;
    auto bias = checkpoint.floats(norm->name + ".bias", {norm->width});
    if (!bias) return bias.error();
    block.norm_biases_[norm->name] = to_tensor(*bias, {norm->width}).to(device);
  }
  if (model.rope) {
    const auto frequencies = model.rope->inverse_frequencies(model.head_dim);
    block.inverse_frequencies_ =
        to_tensor(frequencies, {static_cast<std::int64_t>(frequencies.size())}).to(device);
  }
  return block;
}

TorchBlock::Floats TorchBlock::floats() const {
  Floats floats;
  for (const auto& [norm, weight] : norm_weights_) floats[norm + ".weight"] = weight;
  for (const auto& [norm, bias] : norm_biases_) floats[norm + ".bias"] = bias;
  const auto linears = spec_.linears();
  for (std::size_t i = 0; i < biases_.size(); ++i) {
    if (biases_[i].defined()) floats[linears[i]->name + ".bias"] = biases_[i];
  }
  return floats;
}

void TorchBlock::set_floats(const Floats& floats) {
  const auto take = [&](const std::string& name, Tensor& into) {
    const auto found = floats.find(name);
    if (found != floats.end()) into = found->second.to(into.device(), at::kFloat);
  };
  for (auto& [norm, weight] : norm_weights_) take(norm + ".weight", weight);
  for (auto& [norm, bias] : norm_biases_) take(norm + ".bias", bias);
  const auto linears = spec_.linears();
  for (std::size_t i = 0; i < biases_.size(); ++i) {
    if (biases_[i].defined()) take(linears[i]->name + ".bias", biases_[i]);
  }
}

Tensor TorchBlock::norm(const Tensor& x, const NormSpec& spec) const {
  const auto bias = norm_biases_.find(spec.name);
  return apply_norm(x, norm_weights_.at(spec.name),
                    bias == norm_biases_.end() ? Tensor() : bias->second, model_.norm_epsilon);
}

TorchBlock::Rotation TorchBlock::rotation(std::int64_t tokens) const {
  const Tensor position = at::arange(tokens, inverse_frequencies_.options().dtype(at::kDouble));
  const Tensor angle = at::outer(position, inverse_frequencies_.to(at::kDouble));
  return {.cosine = angle.cos().to(at::kFloat), .sine = angle.sin().to(at::kFloat)};
}

Tensor TorchBlock::rotate(const Tensor& heads, const Rotation& by) {
  const std::int64_t half = heads.size(2) / 2;
  const Tensor a = heads.slice(2, 0, half);
  const Tensor b = heads.slice(2, half);
  return at::cat({a * by.cosine - b * by.sine, b * by.cosine + a * by.sine}, 2);
}

TorchBlock::Heads TorchBlock::heads(const Tensor& x, const Products& products) const {
  constexpr std::array<std::size_t, 3> kInputs = {0, 1, 2};
  const auto qkv = products(kInputs, norm(x, spec_.attention_norm));
  if (qkv.empty()) return {};
  const auto by_head = [&](const Tensor& y, std::int64_t heads) {
    return y.view({y.size(0), heads, model_.head_dim}).transpose(0, 1);
  };
  Tensor q = by_head(qkv[0], model_.heads);
  Tensor k = by_head(qkv[1], model_.kv_heads);
  const Tensor v = by_head(qkv[2], model_.kv_heads);
  if (spec_.q_norm) q = norm(q, *spec_.q_norm);
  if (spec_.k_norm) k = norm(k, *spec_.k_norm);
  if (model_.rope) {
    const Rotation by = rotation(x.size(0));
    q = rotate(q, by);
    k = rotate(k, by);
  }
  return {.q = q, .k = k, .v = v};
}

AttentionShape TorchBlock::attention_shape() const {
  return {.scale = 1.0 / std::sqrt(static_cast<double>(model_.head_dim)),
          .window = model_.sliding_window.value_or(0)};
}

Tensor TorchBlock::attention_received(const Tensor& x, const Products& products) const {
  const Heads by_head = heads(x, products);
  return lowbit::attention_received(by_head.q, by_head.k, attention_shape());
}

Tensor TorchBlock::attention(const Tensor& x, const Products& products) const {
  constexpr std::array<std::size_t, 1> kOutput = {3};
  const Heads by_head = heads(x, products);
  if (!by_head.q.defined()) return {};
  const Tensor mixed = causal_attention(by_head.q, by_head.k, by_head.v, attention_shape());
  const Tensor joined = mixed.transpose(0, 1).reshape({x.size(0), model_.heads * model_.head_dim});
  const auto output = products(kOutput, joined);
  return output.empty() ? Tensor() : output[0];
}

Tensor TorchBlock::feed_forward(const Tensor& x, const Products& products) const {
  const Tensor input = norm(x, spec_.ffn_norm);
  Tensor inner;
  const auto activate = [&](const Tensor& y) {
    return model_.activation == Activation::relu ? at::relu(y) : at::silu(y);
  };
  if (spec_.gate) {
    const auto gate_up = products(std::array<std::size_t, 2>{4, 5}, input);
    if (gate_up.empty()) return {};
    inner = activate(gate_up[0]) * gate_up[1];
  } else {
    const auto up = products(std::array<std::size_t, 1>{4}, input);
    if (up.empty()) return {};
    inner = activate(up[0]);
  }
  const auto output = products(std::array<std::size_t, 1>{linears() - 1}, inner);
  return output.empty() ? Tensor() : output[0];
}

Tensor TorchBlock::forward(const Tensor& x, const Products& products) const {
  const Tensor from_attention = attention(x, products);
  if (!from_attention.defined()) return {};
  const Tensor attended = x + from_attention;
  const Tensor from_ffn = feed_forward(attended, products);
  return from_ffn.defined() ? attended + from_ffn : Tensor();
}

Tensor TorchBlock::forward(const Tensor& x) const {
  return forward(x, [this](std::span<const std::size_t> which, const Tensor& input) {
    std::vector<Tensor> outputs;
    for (const std::size_t linear : which) {
      outputs.push_back(at::linear(input, weights_[linear], biases_[linear]));
    }
    return outputs;
  });
}

}  // namespace lowbit
