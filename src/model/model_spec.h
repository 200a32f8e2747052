// What a decoder-only language model is made of: read from config.json, checked, and spelled out
// block by block as names and shapes. No weights, no arithmetic.
//
// A family is one file, src/model/family_<name>.cc, and one line in supported_architectures().
// Errors: model/{no-architecture, unsupported-architecture, missing-key, bad-value,
// unsupported-option}; the first two list what is supported.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/json.h"

namespace lowbit {

struct LinearSpec {  // y = x W^T + b
  std::string name;  // module name: "model.layers.0.self_attn.q_proj"; tensors are name + ".weight"
  std::int64_t out = 0;
  std::int64_t in = 0;
  bool bias = false;
};

enum class NormKind { rms, layer };  // layer: with mean and bias

struct NormSpec {
  std::string name;  // module name
  std::int64_t width = 0;
};

enum class RopeScaling { none, linear, llama3 };

struct RopeSpec {
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1.0;
  double low_frequency_factor = 1.0;  // llama3 only, as the next two
  double high_frequency_factor = 4.0;
  std::int64_t original_max_positions = 8192;

  // The angle per position of each pair of a head, [head_dim / 2], scaling applied. Pairs are
  // (i, i + head_dim/2), as in transformers.
  std::vector<float> inverse_frequencies(std::int64_t head_dim) const;
};

enum class Activation { silu, relu };

// Linears that share an input, as places in BlockSpec::linears().
using LinearSet = std::vector<std::size_t>;

struct BlockSpec {
  std::string prefix;                 // "model.layers.0"
  NormSpec attention_norm, ffn_norm;  // before attention, before the feed-forward part
  LinearSpec q, k, v, o;
  std::optional<NormSpec> q_norm, k_norm;  // RMS over head_dim, before RoPE (Qwen3)
  std::optional<LinearSpec> gate;          // gated: down(act(gate x) * up x); else down(act(up x))
  LinearSpec up, down;

  std::vector<const LinearSpec*> linears() const;  // q k v o [gate] up down
  std::vector<LinearSet> input_sets() const;       // {q, k, v}, {o}, {[gate], up}, {down}
  std::vector<const NormSpec*> norms() const;      // those there are
};

struct ModelSpec {
  std::string architecture;  // "LlamaForCausalLM"
  std::string model_type;    // "llama"
  std::int64_t blocks = 0;
  std::int64_t hidden = 0;
  std::int64_t ffn = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocabulary = 0;
  std::int64_t max_positions = 0;

  NormKind norm = NormKind::rms;
  double norm_epsilon = 1e-5;
  Activation activation = Activation::silu;
  bool gated = true;
  bool qk_norm = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool ffn_bias = false;
  std::optional<RopeSpec> rope;                // none: learned positions
  std::optional<std::int64_t> sliding_window;  // a token sees this many positions, itself included
  bool tied_head = false;

  std::string embedding_name;        // module of [vocabulary, hidden]
  std::string position_name;         // OPT: module of learned positions, else empty
  std::int64_t position_offset = 0;  // OPT: 2; row of position p is p + offset
  NormSpec final_norm;
  std::string head_name;  // "lm_head"; the embedding's module when tied

  std::optional<std::int64_t> bos_token;
  std::vector<std::int64_t> eos_tokens;

  BlockSpec block(std::int64_t index) const;
};

Result<ModelSpec> read_model_spec(const OrderedJson& config);

// All there are, in the order that errors and --help print them.
std::vector<std::string> supported_architectures();

}  // namespace lowbit
