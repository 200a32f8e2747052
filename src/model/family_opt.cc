// OPT: LayerNorm, learned positions from row 2 on, biases everywhere, ReLU. opt-350m, with its
// norms after each part and its narrower embedding, is refused.
#include <fmt/format.h>

#include "model/family.h"

namespace lowbit {
namespace {

constexpr std::int64_t kPositionOffset = 2;
constexpr double kLayerNormEpsilon = 1e-5;  // not in the config: the framework's default

void read(ConfigReader& config, ModelSpec& spec) {
  spec.blocks = config.count("num_hidden_layers", kMaxBlocks);
  spec.hidden = config.count("hidden_size", kMaxWidth);
  spec.ffn = config.count("ffn_dim", kMaxWidth);
  spec.vocabulary = config.count("vocab_size", kMaxVocabulary);
  spec.max_positions = config.count_or("max_position_embeddings", kMaxPositions, 2048);
  spec.heads = spec.kv_heads = config.count("num_attention_heads", kMaxHeads);
  if (spec.hidden % spec.heads != 0) {
    config.bad_value("hidden_size",
                     fmt::format("a multiple of num_attention_heads, {}", spec.heads));
  }
  spec.head_dim = spec.hidden / spec.heads;

  config.expect_flag("do_layer_norm_before", true, true);
  config.expect_flag("_remove_final_layer_norm", false, false);
  config.expect_flag("layer_norm_elementwise_affine", true, true);
  if (config.count_or("word_embed_proj_dim", kMaxWidth, spec.hidden) != spec.hidden) {
    config.unsupported("word_embed_proj_dim", fmt::format("hidden_size, {}", spec.hidden));
  }
  config.expect_text("activation_function", {"relu"}, "relu");

  spec.norm = NormKind::layer;
  spec.norm_epsilon = kLayerNormEpsilon;
  spec.activation = Activation::relu;
  spec.gated = false;
  spec.qkv_bias = spec.o_bias = spec.ffn_bias = config.flag_or("enable_bias", true);
  spec.tied_head = config.flag_or("tie_word_embeddings", true);
  const auto bos = config.tokens_or("bos_token_id", spec.vocabulary, 2);
  if (!bos.empty()) spec.bos_token = bos.front();
  spec.eos_tokens = config.tokens_or("eos_token_id", spec.vocabulary, 2);

  spec.embedding_name = "model.decoder.embed_tokens";
  spec.position_name = "model.decoder.embed_positions";
  spec.position_offset = kPositionOffset;
  spec.final_norm = {.name = "model.decoder.final_layer_norm", .width = spec.hidden};
  spec.head_name = spec.tied_head ? spec.embedding_name : "lm_head";
}

BlockSpec opt_block(const ModelSpec& spec, std::int64_t index) {
  const std::string prefix = fmt::format("model.decoder.layers.{}", index);
  const std::string attention = prefix + ".self_attn.";
  const std::int64_t hidden = spec.hidden;

  BlockSpec block;
  block.prefix = prefix;
  block.attention_norm = {.name = prefix + ".self_attn_layer_norm", .width = hidden};
  block.ffn_norm = {.name = prefix + ".final_layer_norm", .width = hidden};
  block.q = {attention + "q_proj", hidden, hidden, spec.qkv_bias};
  block.k = {attention + "k_proj", hidden, hidden, spec.qkv_bias};
  block.v = {attention + "v_proj", hidden, hidden, spec.qkv_bias};
  block.o = {attention + "out_proj", hidden, hidden, spec.o_bias};
  block.up = {prefix + ".fc1", spec.ffn, hidden, spec.ffn_bias};
  block.down = {prefix + ".fc2", hidden, spec.ffn, spec.ffn_bias};
  return block;
}

}  // namespace

const Family kOptFamily = {"OPTForCausalLM", "opt", read, opt_block};

}  // namespace lowbit
