#include "io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <optional>

#include "base/half_float.h"
#include "support/memory_file_system.h"
#include "support/safetensors_bytes.h"
#include "support/temporary_folder.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MemoryFileSystem;
using testing::safetensors_bytes;

// A file with one tensor of this many bytes.
std::string one_tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                       const std::string& data) {
  return safetensors_bytes("{\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape +
                               R"(,"data_offsets":[0,)" + std::to_string(data.size()) + "]}}",
                           data);
}

template <typename Stored>
std::string stored_bytes(const std::vector<Stored>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Stored)};
}

std::string byte_tensor(const std::string& name) { return one_tensor(name, "U8", "[1]", "x"); }

class CheckpointFolder : public ::testing::Test {
 protected:
  using Contents = std::map<std::string, std::string>;
  Result<Checkpoint> open(Contents contents) {
    contents.try_emplace("config.json", "{}");
    files_.emplace(std::move(contents));
    return Checkpoint::open(*files_, "folder");
  }
  Error refusal(Contents contents) {
    const auto checkpoint = open(std::move(contents));
    if (checkpoint.ok()) return {ErrorKind::internal, "accepted", ""};
    EXPECT_EQ(checkpoint.error().kind, ErrorKind::bad_input);
    return checkpoint.error();
  }
  Error refusal_of_index(const std::string& index) {
    return refusal({{"model.safetensors.index.json", index}, {"1.safetensors", byte_tensor("a")}});
  }

 private:
  std::optional<MemoryFileSystem> files_;
};

constexpr const char* kTwoShards = R"({"metadata":{"total_size":2},)"
                                   R"("weight_map":{"a":"1.safetensors","b":"2.safetensors"}})";

TEST_F(CheckpointFolder, OpensASingleFile) {
  const auto checkpoint =
      open({{"config.json", R"({"z":1,"a":2})"}, {"model.safetensors", byte_tensor("a")}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_THAT(checkpoint->names(), ElementsAre("a"));
  EXPECT_EQ(checkpoint->config().dump(), R"({"z":1,"a":2})");
  EXPECT_EQ(checkpoint->tensor("a")->bytes.size(), 1u);
}

TEST_F(CheckpointFolder, OpensShards) {
  const auto checkpoint = open({{"model.safetensors.index.json", kTwoShards},
                                {"1.safetensors", byte_tensor("a")},
                                {"2.safetensors", byte_tensor("b")}});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_THAT(checkpoint->names(), ElementsAre("a", "b"));
  EXPECT_EQ(checkpoint->shards().size(), 2u);
  EXPECT_TRUE(checkpoint->has("b"));
  EXPECT_FALSE(checkpoint->has("c"));
}

TEST_F(CheckpointFolder, OpensOneWeightFileWithoutAConfig) {
  MemoryFileSystem files({{"7.safetensors", byte_tensor("a")}});
  const auto weights = Checkpoint::open_weights(files, "folder/7.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_THAT(weights->names(), ElementsAre("a"));
  EXPECT_EQ(weights->folder(), "folder");
  EXPECT_EQ(Checkpoint::open_weights(files, "folder/8").error().code, "file/missing");
}

TEST_F(CheckpointFolder, NeedsItsConfig) {
  MemoryFileSystem files({{"model.safetensors", byte_tensor("a")}});
  const auto checkpoint = Checkpoint::open(files, "folder");
  EXPECT_EQ(checkpoint.error().code, "checkpoint/no-config");
  EXPECT_EQ(checkpoint.error().kind, ErrorKind::bad_input);
}

TEST_F(CheckpointFolder, RefusesAConfigThatIsNoObject) {
  EXPECT_EQ(refusal({{"config.json", "[]"}}).code, "checkpoint/bad-config");
  const Error error = refusal({{"config.json", "{\"a\":1,\"a\":1}"}});
  EXPECT_EQ(error.code, "json/duplicate-key");
  EXPECT_THAT(error.message, HasSubstr("folder/config.json: "));
}

TEST_F(CheckpointFolder, NeedsWeights) {
  EXPECT_EQ(refusal({{"pytorch_model.bin", ""}}).code, "checkpoint/no-weights");
}

TEST_F(CheckpointFolder, RefusesABadIndex) {
  for (const char* index : {"[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})"}) {
    EXPECT_EQ(refusal_of_index(index).code, "checkpoint/bad-index") << index;
  }
  EXPECT_EQ(refusal_of_index("{").code, "json/syntax");
}

TEST_F(CheckpointFolder, RefusesAnIndexThatLeavesTheFolder) {
  for (const char* name : {"/etc/passwd", "../1.safetensors", "..", ".", "", "x/1.safetensors",
                           "..\\\\1.safetensors", "1.safetensors\\u0000"}) {
    const Error error = refusal_of_index(R"({"weight_map":{"a":")" + std::string(name) + R"("}})");
    EXPECT_EQ(error.code, "checkpoint/path-leaves-folder") << name;
  }
}

TEST_F(CheckpointFolder, NamesAMissingShard) {
  const Error error =
      refusal({{"model.safetensors.index.json", kTwoShards}, {"1.safetensors", byte_tensor("a")}});
  EXPECT_EQ(error.code, "checkpoint/missing-shard");
  EXPECT_THAT(error.message, HasSubstr("folder/2.safetensors"));
}

TEST_F(CheckpointFolder, RefusesATensorThatIsNotInItsShard) {
  for (const char* other : {"c", "a2"}) {
    const Error error = refusal({{"model.safetensors.index.json", kTwoShards},
                                 {"1.safetensors", byte_tensor("a")},
                                 {"2.safetensors", byte_tensor(other)}});
    EXPECT_EQ(error.code, "checkpoint/not-in-shard");
    EXPECT_THAT(error.message, AllOf(HasSubstr("2.safetensors"), HasSubstr("'b'")));
  }
  EXPECT_EQ(refusal({{"model.safetensors.index.json", kTwoShards},
                     {"1.safetensors", byte_tensor("b")},
                     {"2.safetensors", byte_tensor("a")}})
                .code,
            "checkpoint/not-in-shard");
}

TEST_F(CheckpointFolder, RefusesATensorInTwoPlaces) {
  const Error error = refusal({{"model.safetensors.index.json", kTwoShards},
                               {"1.safetensors", byte_tensor("a")},
                               {"2.safetensors", byte_tensor("a")}});
  EXPECT_EQ(error.code, "checkpoint/duplicate-tensor");
  EXPECT_THAT(error.message, AllOf(HasSubstr("1.safetensors"), HasSubstr("2.safetensors")));
}

TEST_F(CheckpointFolder, PassesOnWhatTheSafetensorsReaderRefuses) {
  EXPECT_EQ(refusal({{"model.safetensors", "short"}}).code, "safetensors/too-short");
}

TEST_F(CheckpointFolder, NamesAMissingTensor) {
  const auto checkpoint = open({{"model.safetensors", byte_tensor("a")}});
  for (const Error& error : {checkpoint->tensor("b").error(), checkpoint->floats("b", {1}).error(),
                             checkpoint->float_rows("b", 1, 0, 1).error()}) {
    EXPECT_EQ(error.code, "checkpoint/missing-tensor");
    EXPECT_THAT(error.message, AllOf(HasSubstr("folder"), HasSubstr("'b'")));
  }
}

TEST_F(CheckpointFolder, ConvertsEachFloatType) {
  const std::vector<float> values{0.0f, -1.5f, 3.25f, 1024.0f, -0.125f, 2.0f};
  std::vector<std::uint16_t> halves, brains;
  for (const float value : values) {
    halves.push_back(float_to_f16(value));
    brains.push_back(float_to_bf16(value));
  }
  for (const auto& [dtype, data] :
       {std::pair{"F32", stored_bytes(values)}, std::pair{"F16", stored_bytes(halves)},
        std::pair{"BF16", stored_bytes(brains)}}) {
    const auto checkpoint = open({{"model.safetensors", one_tensor("w", dtype, "[3,2]", data)}});
    EXPECT_EQ(*checkpoint->floats("w", {3, 2}), values) << dtype;
    EXPECT_THAT(*checkpoint->float_rows("w", 2, 1, 3), ElementsAre(3.25f, 1024.0f, -0.125f, 2.0f));
    EXPECT_TRUE(checkpoint->float_rows("w", 2, 3, 3)->empty());
  }
}

TEST_F(CheckpointFolder, RefusesAnotherShape) {
  const auto checkpoint = open({{"model.safetensors", one_tensor("w", "U8", "[3,2]", "123456")}});
  const Error error = checkpoint->floats("w", {2, 3}).error();
  EXPECT_EQ(error.code, "checkpoint/wrong-shape");
  EXPECT_THAT(error.message, AllOf(HasSubstr("'w'"), HasSubstr("[3, 2]"), HasSubstr("[2, 3]")));
  EXPECT_EQ(checkpoint->float_rows("w", 3, 0, 1).error().code, "checkpoint/wrong-shape");
  EXPECT_EQ(checkpoint->float_rows("w", 2, 0, 4).error().code, "checkpoint/wrong-shape");
  EXPECT_EQ(checkpoint->float_rows("w", 2, -1, 1).error().code, "checkpoint/wrong-shape");
  EXPECT_EQ(checkpoint->float_rows("w", 2, 2, 1).error().code, "checkpoint/wrong-shape");
}

TEST_F(CheckpointFolder, RefusesAnotherDtype) {
  const auto checkpoint = open({{"model.safetensors", byte_tensor("w")}});
  const Error error = checkpoint->floats("w", {1}).error();
  EXPECT_EQ(error.code, "checkpoint/wrong-dtype");
  EXPECT_THAT(error.message, HasSubstr("U8"));
}

TEST_F(CheckpointFolder, NamesTheFirstNonFiniteValue) {
  // Long enough for several threads; the later bad value must not win over the earlier one.
  std::vector<std::uint16_t> values(400'000, float_to_bf16(1.0f));
  values[123'457] = float_to_bf16(-std::numeric_limits<float>::infinity());
  values[399'999] = 0x7fc0;
  const auto checkpoint =
      open({{"model.safetensors", one_tensor("w", "BF16", "[4,100000]", stored_bytes(values))}});
  const Error error = checkpoint->floats("w", {4, 100'000}).error();
  EXPECT_EQ(error.code, "checkpoint/non-finite");
  EXPECT_THAT(error.message, AllOf(HasSubstr("'w'"), HasSubstr("value 123457 is -inf")));
  EXPECT_TRUE(checkpoint->float_rows("w", 100'000, 0, 1).ok());
  EXPECT_THAT(checkpoint->float_rows("w", 100'000, 3, 4).error().message,
              HasSubstr("value 399999 is nan"));
}

// Hugging Face's cache: the files of a snapshot are symbolic links into ../../blobs.
TEST(CheckpointOnDisk, FollowsLinksOfPlainNames) {
  testing::TemporaryFolder cache;
  std::filesystem::create_directories(cache / "blobs");
  std::filesystem::create_directories(cache / "snapshots/1");
  testing::put_file(cache / "blobs/c", "{}");
  testing::put_file(cache / "blobs/w", byte_tensor("a"));
  std::filesystem::create_symlink("../../blobs/c", cache / "snapshots/1/config.json");
  std::filesystem::create_symlink("../../blobs/w", cache / "snapshots/1/model.safetensors");
  const auto checkpoint = Checkpoint::open(real_file_system(), cache / "snapshots/1");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_TRUE(checkpoint->has("a"));
}

}  // namespace
}  // namespace lowbit
