// A LLaMA-style checkpoint of chosen widths in a folder of its own, with random weights.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/half_float.h"
#include "io/checkpoint.h"
#include "io/safetensors.h"

namespace lowbit {

struct LlamaShape {
  int blocks = 4;
  int hidden = 64;
  int ffn = 96;
  int vocabulary = 40;
  bool tied = true;
};

class LlamaFolder {
 public:
  explicit LlamaFolder(LlamaShape shape) : shape_(shape) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = Path(testing::TempDir()) / (std::string("lowbit-") + test->test_suite_name() + "-" +
                                          test->name() + "-" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    write_config();
    write_weights();
  }
  ~LlamaFolder() { std::filesystem::remove_all(folder_); }
  LlamaFolder(const LlamaFolder&) = delete;
  LlamaFolder& operator=(const LlamaFolder&) = delete;

  const Path& path() const { return folder_; }
  Checkpoint open() const {
    Result<Checkpoint> checkpoint = Checkpoint::open(real_file_system(), folder_);
    EXPECT_TRUE(checkpoint.ok()) << (checkpoint.ok() ? "" : checkpoint.error().message);
    return std::move(checkpoint).value();
  }

 private:
  void write_config() const {
    const OrderedJson config = {{"architectures", {"LlamaForCausalLM"}},
                                {"model_type", "llama"},
                                {"hidden_act", "silu"},
                                {"rms_norm_eps", 1e-5},
                                {"rope_theta", 10000.0},
                                {"max_position_embeddings", 128},
                                {"tie_word_embeddings", shape_.tied},
                                {"bos_token_id", 0},
                                {"eos_token_id", 1},
                                {"hidden_size", shape_.hidden},
                                {"intermediate_size", shape_.ffn},
                                {"num_hidden_layers", shape_.blocks},
                                {"num_attention_heads", 2},
                                {"num_key_value_heads", 1},
                                {"vocab_size", shape_.vocabulary},
                                {"torch_dtype", "bfloat16"}};
    ASSERT_TRUE(write_whole(real_file_system(), folder_ / "config.json", config.dump()).ok());
  }

  void add(const std::string& name, std::vector<std::int64_t> shape) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    std::normal_distribution<float> normal(0, 0.05F);
    std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
    for (std::uint16_t& value : values) value = float_to_bf16(normal(random_));
    data_.push_back(std::move(values));
    tensors_.push_back({name, DType::bf16, std::move(shape), {}});
  }

  void write_weights() {
    const std::int64_t hidden = shape_.hidden;
    const std::int64_t ffn = shape_.ffn;
    add("model.embed_tokens.weight", {shape_.vocabulary, hidden});
    if (!shape_.tied) add("lm_head.weight", {shape_.vocabulary, hidden});
    add("model.norm.weight", {hidden});
    for (int block = 0; block < shape_.blocks; ++block) {
      const std::string prefix = "model.layers." + std::to_string(block) + ".";
      add(prefix + "input_layernorm.weight", {hidden});
      add(prefix + "post_attention_layernorm.weight", {hidden});
      add(prefix + "self_attn.q_proj.weight", {hidden, hidden});
      add(prefix + "self_attn.k_proj.weight", {hidden / 2, hidden});
      add(prefix + "self_attn.v_proj.weight", {hidden / 2, hidden});
      add(prefix + "self_attn.o_proj.weight", {hidden, hidden});
      add(prefix + "mlp.gate_proj.weight", {ffn, hidden});
      add(prefix + "mlp.up_proj.weight", {ffn, hidden});
      add(prefix + "mlp.down_proj.weight", {hidden, ffn});
    }
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      tensors_[i].bytes = std::as_bytes(std::span(data_[i]));
    }
    ASSERT_TRUE(
        write_safetensors(real_file_system(), folder_ / "model.safetensors", tensors_).ok());
  }

  LlamaShape shape_;
  Path folder_;
  std::mt19937 random_{7};
  std::vector<std::vector<std::uint16_t>> data_;
  std::vector<TensorToWrite> tensors_;
};

}  // namespace lowbit
