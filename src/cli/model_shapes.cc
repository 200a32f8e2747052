#include "cli/model_shapes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <string_view>

namespace lowbit {
namespace {

struct Shape {
  std::string_view name, architecture, model_type;
  std::int64_t hidden, ffn, blocks, heads, kv_heads, head_dim, vocabulary, positions;
};

// From the models' published config.json files.
constexpr std::array kShapes = {
    Shape{"llama-3.2-1b", "LlamaForCausalLM", "llama", 2048, 8192, 16, 32, 8, 64, 128256, 131072},
    Shape{"llama-2-7b", "LlamaForCausalLM", "llama", 4096, 11008, 32, 32, 32, 128, 32000, 4096},
    Shape{"llama-3-8b", "LlamaForCausalLM", "llama", 4096, 14336, 32, 32, 8, 128, 128256, 8192},
    Shape{"qwen2.5-7b", "Qwen2ForCausalLM", "qwen2", 3584, 18944, 28, 28, 4, 128, 152064, 32768},
    Shape{"qwen3-8b", "Qwen3ForCausalLM", "qwen3", 4096, 12288, 36, 32, 8, 128, 151936, 40960},
    Shape{"llama-3-70b", "LlamaForCausalLM", "llama", 8192, 28672, 80, 64, 8, 128, 128256, 8192},
};

}  // namespace

std::vector<std::string> model_shapes() {
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

Result<ModelSpec> shape_named(const std::string& name) {
  for (const Shape& shape : kShapes) {
    if (shape.name != name) continue;
    return read_model_spec({{"architectures", {shape.architecture}},
                            {"model_type", shape.model_type},
                            {"hidden_size", shape.hidden},
                            {"intermediate_size", shape.ffn},
                            {"num_hidden_layers", shape.blocks},
                            {"num_attention_heads", shape.heads},
                            {"num_key_value_heads", shape.kv_heads},
                            {"head_dim", shape.head_dim},
                            {"vocab_size", shape.vocabulary},
                            {"max_position_embeddings", shape.positions},
                            {"hidden_act", "silu"},
                            {"rms_norm_eps", 1e-5},
                            {"rope_theta", 500000.0},
                            {"tie_word_embeddings", false}});
  }
  return usage_error("cli/unknown-shape", fmt::format("no shape '{}'; there are {}", name,
                                                      fmt::join(model_shapes(), ", ")));
}

}  // namespace lowbit
