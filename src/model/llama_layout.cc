#include "model/llama_layout.h"

#include <fmt/format.h>

namespace lowbit {
namespace {

constexpr double kMaxEpsilon = 1.0;

void read_heads(ConfigReader& config, const LlamaDefaults& defaults, ModelSpec& spec) {
  spec.heads = config.count("num_attention_heads", kMaxHeads);
  // Absent takes the family's default, null always means one key head a query head.
  const std::int64_t silent =
      config.has("num_key_value_heads") ? spec.heads : defaults.kv_heads.value_or(spec.heads);
  spec.kv_heads = config.count_or("num_key_value_heads", kMaxHeads, silent);
  if (spec.heads % spec.kv_heads != 0) {
    config.bad_value("num_key_value_heads",
                     fmt::format("a divisor of num_attention_heads, {}", spec.heads));
  }
  if (config.has_value("head_dim") || defaults.head_dim) {
    spec.head_dim = config.count_or("head_dim", kMaxHeadDim, defaults.head_dim.value_or(1));
  } else if (spec.hidden % spec.heads != 0) {
    config.bad_value("hidden_size",
                     fmt::format("a multiple of num_attention_heads, {}", spec.heads));
  } else {
    spec.head_dim = spec.hidden / spec.heads;
  }
  if (spec.head_dim % 2 != 0) {
    config.bad_value(config.has_value("head_dim") ? "head_dim" : "hidden_size",
                     fmt::format("an even width of a head (rotary pairs), not {}", spec.head_dim));
  }
  if (spec.heads * spec.head_dim > kMaxWidth) {
    config.bad_value(
        "num_attention_heads",
        fmt::format("heads of {} that together are at most {} wide", spec.head_dim, kMaxWidth));
  }
}

}  // namespace

void read_llama_layout(ConfigReader& config, const LlamaDefaults& defaults, ModelSpec& spec) {
  spec.blocks = config.count("num_hidden_layers", kMaxBlocks);
  spec.hidden = config.count("hidden_size", kMaxWidth);
  spec.ffn = config.count("intermediate_size", kMaxWidth);
  spec.vocabulary = config.count("vocab_size", kMaxVocabulary);
  spec.max_positions =
      config.count_or("max_position_embeddings", kMaxPositions, defaults.max_positions);
  read_heads(config, defaults, spec);

  spec.norm = NormKind::rms;
  spec.norm_epsilon = config.positive_or("rms_norm_eps", kMaxEpsilon, 1e-6);
  config.expect_text("hidden_act", {"silu", "swish"}, "silu");
  spec.activation = Activation::silu;
  spec.gated = true;
  spec.rope = read_rope(config, spec.max_positions);
  spec.tied_head = config.flag_or("tie_word_embeddings", false);

  const auto bos = config.tokens_or("bos_token_id", spec.vocabulary, defaults.bos_token);
  if (!bos.empty()) spec.bos_token = bos.front();
  spec.eos_tokens = config.tokens_or("eos_token_id", spec.vocabulary, defaults.eos_token);

  spec.embedding_name = "model.embed_tokens";
  spec.final_norm = {.name = "model.norm", .width = spec.hidden};
  spec.head_name = spec.tied_head ? spec.embedding_name : "lm_head";
}

BlockSpec llama_block(const ModelSpec& spec, std::int64_t index) {
  const std::string prefix = fmt::format("model.layers.{}", index);
  const std::string attention = prefix + ".self_attn.";
  const std::string mlp = prefix + ".mlp.";
  const std::int64_t query_width = spec.heads * spec.head_dim;
  const std::int64_t key_width = spec.kv_heads * spec.head_dim;

  BlockSpec block;
  block.prefix = prefix;
  block.attention_norm = {.name = prefix + ".input_layernorm", .width = spec.hidden};
  block.ffn_norm = {.name = prefix + ".post_attention_layernorm", .width = spec.hidden};
  block.q = {attention + "q_proj", query_width, spec.hidden, spec.qkv_bias};
  block.k = {attention + "k_proj", key_width, spec.hidden, spec.qkv_bias};
  block.v = {attention + "v_proj", key_width, spec.hidden, spec.qkv_bias};
  block.o = {attention + "o_proj", spec.hidden, query_width, spec.o_bias};
  if (spec.qk_norm) {
    block.q_norm = NormSpec{.name = attention + "q_norm", .width = spec.head_dim};
    block.k_norm = NormSpec{.name = attention + "k_norm", .width = spec.head_dim};
  }
  block.gate = LinearSpec{mlp + "gate_proj", spec.ffn, spec.hidden, spec.ffn_bias};
  block.up = {mlp + "up_proj", spec.ffn, spec.hidden, spec.ffn_bias};
  block.down = {mlp + "down_proj", spec.hidden, spec.ffn, spec.ffn_bias};
  return block;
}

}  // namespace lowbit
