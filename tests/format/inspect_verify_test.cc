// A whole small model, packed, then looked at and damaged in one place at a time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "base/sha256.h"
#include "format/inspect.h"
#include "format/rtn_checkpoint.h"
#include "format/value_grid.h"
#include "format/verify.h"
#include "model/model_spec.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

constexpr const char* kConfig = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
  "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
  "num_key_value_heads": 1, "vocab_size": 16, "max_position_embeddings": 64, "hidden_act": "silu",
  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true})";

class PackedModel : public testing::Test {
 protected:
  void SetUp() override {
    root_ =
        Path(testing::TempDir()) / (std::string("lowbit_verify_") +
                                    testing::UnitTest::GetInstance()->current_test_info()->name());
    write_source();
    const auto scheme = [](const std::string& linear) {
      return LinearScheme{{.bits = linear.ends_with("down_proj") ? 3 : 4, .group_size = 32}, {}};
    };
    const Status packed =
        write_rtn_checkpoint(root_ / "source", folder(), root_ / "decoded.safetensors", scheme);
    ASSERT_TRUE(packed) << packed.error().message;
  }

  void pack_embedding() {
    const auto scheme = [](const std::string&) { return LinearScheme{{.group_size = 32}, {}}; };
    const auto table = [](const std::string&) {
      return LinearScheme{{.bits = 8, .group_size = 32}, {}};
    };
    const Status packed = write_rtn_checkpoint(root_ / "source", folder(),
                                               root_ / "decoded.safetensors", scheme, table);
    ASSERT_TRUE(packed) << packed.error().message;
  }

  void pack_values(WeightFormat format) {
    const auto scheme = [&](const std::string&) {
      return LinearScheme{value_format(format)->scheme, {}};
    };
    const Status packed =
        write_rtn_checkpoint(root_ / "source", folder(), root_ / "decoded.safetensors", scheme);
    ASSERT_TRUE(packed) << packed.error().message;
  }

  Path folder() const { return root_ / "packed"; }
  Path weights() const { return folder() / "model.safetensors"; }

  void write_source() {
    FileSystem& files = real_file_system();
    std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes = {
        {"model.embed_tokens.weight", {16, 32}}, {"model.norm.weight", {32}}};
    const ModelSpec spec = read_model_spec(parse_ordered_json(kConfig).value()).value();
    for (std::int64_t i = 0; i < spec.blocks; ++i) {
      const BlockSpec block = spec.block(i);
      for (const NormSpec* norm : block.norms()) shapes.push_back({norm->name + ".weight", {32}});
      for (const LinearSpec* linear : block.linears()) {
        shapes.push_back({linear->name + ".weight", {linear->out, linear->in}});
      }
    }
    std::deque<std::vector<float>> values;
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, shape] : shapes) {
      const std::int64_t count = shape[0] * (shape.size() == 2 ? shape[1] : 1);
      std::vector<float>& value = values.emplace_back();
      for (std::int64_t i = 0; i < count; ++i) value.push_back(std::cos(static_cast<float>(i * i)));
      tensors.push_back({name, DType::f32, shape, std::as_bytes(std::span(value))});
    }
    ASSERT_TRUE(files.make_folders(root_ / "source"));
    ASSERT_TRUE(write_whole(files, root_ / "source" / "config.json", kConfig));
    ASSERT_TRUE(write_safetensors(files, root_ / "source" / "model.safetensors", tensors));
  }

  OrderedJson config() const {
    return parse_ordered_json(real_file_system().read(folder() / "config.json", 1 << 20).value())
        .value();
  }
  void set_config(const OrderedJson& json) const {
    ASSERT_TRUE(write_whole(real_file_system(), folder() / "config.json", json.dump()));
  }
  void transform_inputs_of_down_proj(std::int64_t size) const {
    OrderedJson json = config();
    json["quantization_config"]["transform_config"]["config_groups"]["hadamard"] = {
        {"type", "hadamard"},
        {"head_dim", size},
        {"apply", {{{"targets", {"re:.*down_proj$"}}, {"location", "input"}}}}};
    set_config(json);
  }
  void record_sum() const {
    OrderedJson json = config();
    json["lowbit"]["files"]["model.safetensors"] =
        sha256_hex(real_file_system().map(weights()).value()->bytes());
    set_config(json);
  }

  // Rewrites the weight file with each tensor passed through `change`; false leaves a tensor out.
  template <typename Change>
  void rewrite(Change change, std::vector<TensorToWrite> added = {}) const {
    const SafetensorsFile file = SafetensorsFile::open(real_file_system(), weights()).value();
    std::deque<std::vector<std::byte>> bytes;
    std::vector<TensorToWrite> tensors = std::move(added);
    for (const TensorInfo& info : file.tensors()) {
      const std::span<const std::byte> stored = file.bytes(info);
      bytes.emplace_back(stored.begin(), stored.end());
      if (!change(info.name, bytes.back())) continue;
      tensors.push_back({info.name, info.dtype, info.shape, bytes.back()});
    }
    ASSERT_TRUE(write_safetensors(real_file_system(), weights(), tensors));
  }

  std::vector<std::string> problems() const {
    const Result<VerifyReport> report = verify(real_file_system(), folder());
    EXPECT_TRUE(report) << report.error().message;
    std::vector<std::string> codes;
    for (const Error& error : report->problems) codes.push_back(error.code);
    return codes;
  }

  Path root_;
};

using Verify = PackedModel;
using Inspect = PackedModel;
using testing::ElementsAre;

TEST_F(Verify, FindsAWholeModelGood) {
  record_sum();
  const VerifyReport report = verify(real_file_system(), folder()).value();
  EXPECT_TRUE(report.ok()) << verify_text(report);
  EXPECT_EQ(report.linears_decoded, 14);
  EXPECT_EQ(report.files_summed, 1);
  EXPECT_EQ(report.tensors_read, 14 * 4 + 6);
  EXPECT_TRUE(report.notes.empty());
  EXPECT_THAT(verify_text(report), HasSubstr("good"));
  EXPECT_EQ(verify_json(report)["good"], true);
}

TEST_F(Verify, DecodesAPackedEmbedding) {
  pack_embedding();
  const Result<VerifyReport> report = verify(real_file_system(), folder());
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ok()) << verify_text(*report);
  EXPECT_EQ(report->linears_decoded, 15);
}

TEST_F(Verify, DecodesValueFormatsAndInspectCountsTheirBits) {
  for (const auto& [format, bits] :
       {std::pair{WeightFormat::nvfp4, 4.5 + 32.0 / (32 * 64)}, {WeightFormat::mxfp4, 4.25}}) {
    pack_values(format);
    const VerifyReport report = verify(real_file_system(), folder()).value();
    EXPECT_TRUE(report.ok()) << verify_text(report);
    EXPECT_EQ(report.linears_decoded, 14);
    const Inspection inspection = inspect(real_file_system(), folder()).value();
    EXPECT_EQ(inspection.problem, "");
    ASSERT_EQ(inspection.linears.size(), 14U);
    EXPECT_EQ(inspection.linears[0].out, 32);
    EXPECT_EQ(inspection.linears[0].in, 64);
    EXPECT_DOUBLE_EQ(inspection.linears[0].bits_per_weight(), bits);
    EXPECT_THAT(inspection_text(inspection), HasSubstr(value_format(format)->name));
  }
}

TEST_F(Verify, ReadsLowRankPairsAndInspectCountsTheirBits) {
  const double plain = inspect(real_file_system(), folder()).value().bits_per_packed_weight();
  const auto scheme = [](const std::string& linear) {
    const bool down = linear.ends_with("down_proj");
    LinearScheme with{.weight = {.bits = down ? 3 : 4, .group_size = 32}};
    if (!down) return with;
    with.low_rank.rank = 2;
    with.low_rank.pair = std::make_shared<LowRankPair>(
        LowRankPair{std::vector<float>(2 * 32, .5F), std::vector<float>(2 * 64, .25F)});
    return with;
  };
  ASSERT_TRUE(
      write_rtn_checkpoint(root_ / "source", folder(), root_ / "decoded.safetensors", scheme));
  EXPECT_THAT(problems(), ElementsAre());
  const Inspection inspection = inspect(real_file_system(), folder()).value();
  double weights = 0;
  for (const InspectedLinear& linear : inspection.linears) {
    weights += static_cast<double>(linear.out * linear.in);
  }
  EXPECT_NEAR((inspection.bits_per_packed_weight() - plain) * weights, 2 * 2 * 16 * (32 + 64), 1);
  EXPECT_THAT(inspection_text(inspection), HasSubstr("rank 2"));
  rewrite([](const std::string& name, std::vector<std::byte>&) {
    return name != "model.layers.1.mlp.down_proj.low_rank_left";
  });
  EXPECT_THAT(problems(), ElementsAre("packed/missing-tensor"));
}

TEST_F(Verify, FindsANotANumberAmongCodes) {
  pack_values(WeightFormat::fp8);
  EXPECT_THAT(problems(), ElementsAre());
  EXPECT_EQ(inspect(real_file_system(), folder()).value().linears[0].in, 64);
  rewrite([](const std::string& name, std::vector<std::byte>& bytes) {
    if (name == "model.layers.1.mlp.up_proj.weight") bytes[7] = std::byte{0x7F};
    return true;
  });
  EXPECT_THAT(problems(), ElementsAre("packed/bad-code"));
}

TEST_F(Verify, SaysThatNoSumsAreRecorded) {
  const VerifyReport report = verify(real_file_system(), folder()).value();
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.notes.size(), 1U);
}

TEST_F(Verify, FindsAChangedByte) {
  record_sum();
  rewrite([](const std::string& name, std::vector<std::byte>& bytes) {
    if (name == "model.layers.1.mlp.up_proj.weight_packed") bytes[7] ^= std::byte{1};
    return true;
  });
  EXPECT_THAT(problems(), ElementsAre("packed/bad-sum"));
}

TEST_F(Verify, FindsAFileWithoutASum) {
  OrderedJson json = config();
  json["lowbit"]["files"]["config.json.bak"] = "00";
  set_config(json);
  EXPECT_THAT(problems(), ElementsAre("file/missing", "packed/bad-sum"));
}

TEST_F(Verify, OpensNoFileOutsideTheFolder) {
  OrderedJson json = config();
  json["lowbit"]["files"] = {{"model.safetensors", ""}, {"../source/config.json", "00"}};
  set_config(json);
  EXPECT_THAT(problems(), ElementsAre("packed/bad-config", "packed/bad-sum"));
}

TEST_F(Verify, FindsMissingAndUnknownTensors) {
  const float value = 1;
  rewrite(
      [](const std::string& name, std::vector<std::byte>&) {
        return name != "model.norm.weight" && name != "model.layers.0.mlp.up_proj.weight_scale";
      },
      {{"model.layers.2.surprise", DType::f32, {1}, std::as_bytes(std::span(&value, 1))}});
  EXPECT_THAT(problems(), ElementsAre("checkpoint/missing-tensor", "packed/missing-tensor",
                                      "packed/unknown-tensor"));
}

TEST_F(Verify, FindsValuesThatAreNotFinite) {
  rewrite([](const std::string& name, std::vector<std::byte>& bytes) {
    if (name == "model.embed_tokens.weight") {
      bytes[6] = std::byte{0x80};  // element 1: 0x7F80...., infinity or NaN
      bytes[7] = std::byte{0x7F};
    }
    if (name == "model.layers.0.mlp.up_proj.weight_scale") {
      bytes[0] = std::byte{0};
      bytes[1] = std::byte{0};
    }
    return true;
  });
  EXPECT_THAT(problems(), ElementsAre("checkpoint/non-finite", "packed/bad-scale"));
}

TEST_F(Verify, ListsSomeProblemsAndCountsTheRest) {
  OrderedJson json = config();
  for (int i = 0; i < 150; ++i) json["lowbit"]["files"]["missing" + std::to_string(i)] = "00";
  set_config(json);
  const VerifyReport report = verify(real_file_system(), folder()).value();
  EXPECT_EQ(report.problems.size(), VerifyReport::kProblemsLimit);
  EXPECT_EQ(report.problems_left_out, 51);  // with the weight file, for which no sum is recorded
}

TEST_F(Verify, AcceptsAFloatModel) {
  const VerifyReport report = verify(real_file_system(), root_ / "source").value();
  EXPECT_TRUE(report.ok()) << verify_text(report);
  EXPECT_EQ(report.linears_decoded, 0);
}

TEST_F(Verify, ReturnsAnErrorWhereNothingCanBeRead) {
  OrderedJson json = config();
  json["quantization_config"]["quant_method"] = "gptq";
  set_config(json);
  EXPECT_EQ(verify(real_file_system(), folder()).error().code, "packed/unsupported-method");
  EXPECT_FALSE(verify(real_file_system(), root_ / "nowhere").ok());
}

TEST_F(Inspect, ListsTensorsAndPackedLinears) {
  const Inspection inspection = inspect(real_file_system(), folder()).value();
  EXPECT_EQ(inspection.architecture, "LlamaForCausalLM");
  EXPECT_EQ(inspection.tensors.size(), 14U * 4 + 6);
  ASSERT_EQ(inspection.linears.size(), 14U);
  const InspectedLinear& down = inspection.linears[0];
  EXPECT_EQ(down.name, "model.layers.0.mlp.down_proj");
  EXPECT_EQ(down.out, 32);
  EXPECT_EQ(down.in, 64);
  EXPECT_EQ(down.scheme.weight, (WeightScheme{3, 32, false}));
  // 3 bits, 16 + 3 for each 32 weights, and the 16 bytes of weight_shape.
  EXPECT_DOUBLE_EQ(down.bits_per_weight(), 3 + 19.0 / 32 + 128.0 / (32 * 64));
  EXPECT_EQ(inspection.problem, "");
  const std::string text = inspection_text(inspection);
  EXPECT_THAT(text, HasSubstr("W3 g32 asym"));
  EXPECT_THAT(text, HasSubstr("model.embed_tokens.weight"));
  EXPECT_EQ(inspection_json(inspection)["packed_linears"].size(), 14U);
}

TEST_F(Inspect, ListsAPackedEmbedding) {
  pack_embedding();
  const Result<Inspection> inspection = inspect(real_file_system(), folder());
  ASSERT_TRUE(inspection);
  EXPECT_EQ(inspection->problem, "");
  EXPECT_THAT(inspection_text(*inspection), HasSubstr("model.embed_tokens"));
  EXPECT_EQ(inspection->linears.size(), 15U);
}

TEST_F(Inspect, TellsATransformOfTheInput) {
  transform_inputs_of_down_proj(64);
  const Inspection inspection = inspect(real_file_system(), folder()).value();
  EXPECT_EQ(inspection.problem, "");
  EXPECT_THAT(inspection_text(inspection), HasSubstr("W3 g32 asym, A16, H64"));
  EXPECT_EQ(inspection_json(inspection)["packed_linears"][0]["scheme"], "W3 g32 asym, A16, H64");
}

TEST_F(Verify, FindsATransformThatDoesNotDivideItsRow) {
  transform_inputs_of_down_proj(64);
  EXPECT_THAT(problems(), ElementsAre());
  transform_inputs_of_down_proj(128);
  EXPECT_THAT(problems(), ElementsAre("packed/bad-config", "packed/bad-config"));
  EXPECT_THAT(inspect(real_file_system(), folder())->problem, HasSubstr("blocks of 128"));
}

TEST_F(Inspect, ListsTheTensorsOfAFileAlone) {
  const Inspection inspection = inspect(real_file_system(), weights()).value();
  EXPECT_EQ(inspection.tensors.size(), 14U * 4 + 6);
  EXPECT_TRUE(inspection.linears.empty());
}

TEST_F(Inspect, ListsTensorsOfAMethodThatIsNotRead) {
  OrderedJson json = config();
  json["quantization_config"]["quant_method"] = "awq";
  set_config(json);
  const Inspection inspection = inspect(real_file_system(), folder()).value();
  EXPECT_EQ(inspection.tensors.size(), 14U * 4 + 6);
  EXPECT_THAT(inspection.problem, HasSubstr("awq"));
  EXPECT_THAT(inspection_text(inspection), HasSubstr("awq"));
}

TEST_F(Inspect, NamesAMissingFile) {
  EXPECT_EQ(inspect(real_file_system(), root_ / "nowhere").error().code, "file/missing");
}

}  // namespace
}  // namespace lowbit
