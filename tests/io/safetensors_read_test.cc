#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "io/limits.h"
#include "io/safetensors.h"
#include "support/memory_file_system.h"
#include "support/safetensors_bytes.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::length_bytes;
using testing::MemoryFileSystem;
using testing::safetensors_bytes;

// Opens these bytes as a file; the file system lives as long as the result.
class SafetensorsReader : public ::testing::Test {
 protected:
  Result<SafetensorsFile> open(std::string bytes) {
    files_.emplace(std::map<std::string, std::string>{{"a.safetensors", std::move(bytes)}});
    return SafetensorsFile::open(*files_, "a.safetensors");
  }
  Result<SafetensorsFile> open(std::string_view header, std::string_view data) {
    return open(safetensors_bytes(header, data));
  }
  // What a refused file is told: the code, and that the message begins with the file.
  Error refusal(std::string bytes) {
    const auto file = open(std::move(bytes));
    if (file.ok()) return {ErrorKind::internal, "accepted", ""};
    EXPECT_EQ(file.error().kind, ErrorKind::bad_input);
    EXPECT_THAT(file.error().message, ::testing::StartsWith("a.safetensors: "));
    return file.error();
  }
  Error refusal(std::string_view header, std::string_view data) {
    return refusal(safetensors_bytes(header, data));
  }

 private:
  std::optional<MemoryFileSystem> files_;
};

constexpr const char* kTwoTensors = R"({"__metadata__":{"format":"pt"},)"
                                    R"("b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                                    R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";

TEST_F(SafetensorsReader, GivesTensorsInOrderOfTheirData) {
  const auto file = open(kTwoTensors, "12345678abc");
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->tensors()[0].name, "b");
  const TensorInfo* a = file->find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->dtype, DType::u8);
  EXPECT_THAT(a->shape, ElementsAre(3));
  EXPECT_EQ(a->elements(), 3);
  const auto bytes = file->bytes(*a);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "abc");
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_EQ(file->find("c"), nullptr);
}

TEST_F(SafetensorsReader, AcceptsAnEmptyHeaderObject) {
  EXPECT_TRUE(open("{}", "")->tensors().empty());
  EXPECT_TRUE(open("{}      ", "").ok());  // padded
}

TEST_F(SafetensorsReader, AcceptsScalarsAndEmptyTensors) {
  const auto file = open(R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                         R"("e":{"dtype":"F32","shape":[5,0],"data_offsets":[4,4]},)"
                         R"("f":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                         "1234");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->find("s")->elements(), 1);
  EXPECT_EQ(file->find("e")->elements(), 0);
  EXPECT_TRUE(file->bytes(*file->find("e")).empty());
}

TEST_F(SafetensorsReader, RefusesAFileWithoutRoomForTheLength) {
  EXPECT_EQ(refusal("").code, "safetensors/too-short");
  const Error error = refusal("1234567");
  EXPECT_EQ(error.code, "safetensors/too-short");
  EXPECT_THAT(error.message, HasSubstr("has 7 bytes"));
}

TEST_F(SafetensorsReader, RefusesAHeaderBeyondTheLimit) {
  EXPECT_EQ(refusal(length_bytes(kMaxSafetensorsHeaderBytes + 1)).code,
            "safetensors/header-too-long");
  EXPECT_EQ(refusal(length_bytes(~std::uint64_t{0}) + "{}").code, "safetensors/header-too-long");
  EXPECT_EQ(refusal("<!DOCTYPE html>").code, "safetensors/header-too-long");
}

TEST_F(SafetensorsReader, RefusesAHeaderThatEndsBehindTheFile) {
  const Error error = refusal(length_bytes(3) + "{}");
  EXPECT_EQ(error.code, "safetensors/header-past-end");
  EXPECT_THAT(error.message, AllOf(HasSubstr("byte 11"), HasSubstr("byte 10")));
}

TEST_F(SafetensorsReader, RefusesAHeaderThatIsNoJsonObject) {
  for (const char* header : {"", "{", "[]", "null", "{}{}", "\xff{}"}) {
    EXPECT_EQ(refusal(header, "").code, "safetensors/header-not-json") << header;
  }
}

TEST_F(SafetensorsReader, RefusesADuplicateKey) {
  const Error error = refusal(R"({"twice":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                              R"("twice":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                              "12");
  EXPECT_EQ(error.code, "safetensors/duplicate-key");
  EXPECT_THAT(error.message, HasSubstr("'twice'"));
}

TEST_F(SafetensorsReader, RefusesAnEntryThatIsNoTensor) {
  for (const char* entry :
       {"1", "null", "[]", "{}", R"({"dtype":"U8","shape":[1]})",
        R"({"dtype":"U8","data_offsets":[0,1]})", R"({"shape":[1],"data_offsets":[0,1]})",
        R"({"dtype":7,"shape":[1],"data_offsets":[0,1]})",
        R"({"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]})",
        R"({"dtype":"U8","shape":[1],"data_offsets":[1]})",
        R"({"dtype":"U8","shape":[1],"data_offsets":[0,1,1]})",
        R"({"dtype":"U8","shape":[1],"data_offsets":[1,0]})",
        R"({"dtype":"U8","shape":[1],"data_offsets":[-1,0]})",
        R"({"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]})",
        R"({"dtype":"U8","shape":[1],"data_offsets":["0","1"]})",
        R"({"dtype":"U8","shape":[1],"data_offsets":[0.0,1.0]})"}) {
    const Error error = refusal("{\"odd\":" + std::string(entry) + "}", "1");
    EXPECT_EQ(error.code, "safetensors/bad-entry") << entry;
    EXPECT_THAT(error.message, HasSubstr("'odd'"));
  }
}

TEST_F(SafetensorsReader, RefusesMetadataThatIsNotText) {
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":1}})", "").code, "safetensors/bad-entry");
  EXPECT_EQ(refusal(R"({"__metadata__":[]})", "").code, "safetensors/bad-entry");
}

TEST_F(SafetensorsReader, RefusesAnUnknownDtypeByName) {
  const Error error = refusal(R"({"t":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", "1");
  EXPECT_EQ(error.code, "safetensors/unknown-dtype");
  EXPECT_THAT(error.message, AllOf(HasSubstr("'t'"), HasSubstr("'F4'")));
}

TEST_F(SafetensorsReader, RefusesAShapeThatIsNoListOfWholeNumbers) {
  std::string many = "[1";
  for (std::size_t i = 0; i < kMaxTensorDimensions; ++i) many += ",1";
  for (const std::string& shape : {std::string("1"), std::string("[-1]"), std::string("[1.0]"),
                                   std::string("[\"1\"]"), std::string("[18446744073709551615]"),
                                   std::string("null"), std::string("[[1]]"), many + "]"}) {
    EXPECT_EQ(
        refusal(R"({"t":{"dtype":"U8","shape":)" + shape + R"(,"data_offsets":[0,1]}})", "1").code,
        "safetensors/bad-shape")
        << shape;
  }
}

TEST_F(SafetensorsReader, RefusesAShapeWhoseSizeOverflows) {
  for (const char* shape : {"[4294967296,4294967296]", "[9223372036854775807]",
                            "[3037000500,3037000500]", "[0,4294967296,4294967296]"}) {
    const Error error = refusal(
        R"({"t":{"dtype":"F16","shape":)" + std::string(shape) + R"(,"data_offsets":[0,0]}})", "");
    EXPECT_EQ(error.code, "safetensors/size-overflow") << shape;
  }
}

TEST_F(SafetensorsReader, RefusesBytesThatDoNotFitTheShape) {
  const Error error =
      refusal(R"({"t":{"dtype":"F32","shape":[2,3],"data_offsets":[0,20]}})", std::string(20, 0));
  EXPECT_EQ(error.code, "safetensors/size-mismatch");
  EXPECT_THAT(error.message, AllOf(HasSubstr("span 20 bytes"), HasSubstr("F32 [2, 3] needs 24")));
}

TEST_F(SafetensorsReader, RefusesOverlappingTensors) {
  const Error error = refusal(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                              R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
                              "1234567");
  EXPECT_EQ(error.code, "safetensors/overlap");
  EXPECT_THAT(error.message, AllOf(HasSubstr("'b'"), HasSubstr("'a'")));
}

TEST_F(SafetensorsReader, RefusesAnEmptyTensorWithinAnother) {
  EXPECT_EQ(refusal(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                    R"("b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                    "1234")
                .code,
            "safetensors/overlap");
}

TEST_F(SafetensorsReader, RefusesAGapBetweenTensorsOrBeforeTheFirst) {
  EXPECT_EQ(refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                    R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                    "123")
                .code,
            "safetensors/gap");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "12").code,
            "safetensors/gap");
}

TEST_F(SafetensorsReader, RefusesACutFileAndNamesTheTensor) {
  const Error error = refusal(kTwoTensors, "12345678ab");
  EXPECT_EQ(error.code, "safetensors/short-data");
  EXPECT_THAT(error.message, AllOf(HasSubstr("'a'"), HasSubstr("byte 11"), HasSubstr("10 bytes"),
                                   HasSubstr("fetch it again")));
}

TEST_F(SafetensorsReader, RefusesBytesBehindTheLastTensor) {
  EXPECT_EQ(refusal(kTwoTensors, "12345678abcd").code, "safetensors/trailing-data");
  EXPECT_EQ(refusal("{}", "x").code, "safetensors/trailing-data");
}

// Every cut and every changed byte of a good file: an error or a file, never a crash.
TEST_F(SafetensorsReader, SurvivesEveryCutAndEveryChangedByte) {
  const std::string good = safetensors_bytes(kTwoTensors, "12345678abc");
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(open(good.substr(0, length)).ok()) << length;
  }
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const char changed : {'\0', '"', '9', '}', '\xff'}) {
      std::string bad = good;
      bad[at] = changed;
      const auto file = open(bad);
      if (!file) continue;
      for (const TensorInfo& tensor : file->tensors()) {
        EXPECT_EQ(file->bytes(tensor).size(), tensor.size_bytes());
      }
    }
  }
}

}  // namespace
}  // namespace lowbit
