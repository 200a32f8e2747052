#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/safetensors.h"
#include "support/faulty_file_system.h"
#include "support/safetensors_bytes.h"
#include "support/temporary_folder.h"

namespace lowbit {
namespace {

using testing::FaultKind;
using testing::FaultyFileSystem;
using testing::get_file;
using testing::Killed;
using testing::put_file;
using testing::safetensors_bytes;
using testing::TemporaryFolder;

const std::string kNumbers = "12345678";
const std::string kLetters = "abc";

std::vector<TensorToWrite> two_tensors() {
  return {{"b", DType::f32, {1, 2}, std::as_bytes(std::span(kNumbers))},
          {"a", DType::u8, {3}, std::as_bytes(std::span(kLetters))}};
}

TEST(SafetensorsWriter, WritesTheBytesOfTheFormat) {
  TemporaryFolder folder;
  const Status status = write_safetensors(real_file_system(), folder / "t", two_tensors());
  ASSERT_TRUE(status.ok()) << status.error().message;
  std::string header = R"({"__metadata__":{"format":"pt"},)"
                       R"("b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                       R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
  while (header.size() % 8 != 0) header += ' ';
  EXPECT_EQ(get_file(folder / "t"), safetensors_bytes(header, kNumbers + kLetters));
}

TEST(SafetensorsWriter, WhatItWritesReadsBack) {
  TemporaryFolder folder;
  auto tensors = two_tensors();
  tensors.push_back({"scalar", DType::f64, {}, std::as_bytes(std::span(kNumbers))});
  tensors.push_back({"empty \"\\ \xc3\xa4", DType::i32, {4, 0}, {}});
  ASSERT_TRUE(write_safetensors(real_file_system(), folder / "t", tensors, {{"k", "v"}}).ok());
  const auto file = SafetensorsFile::open(real_file_system(), folder / "t");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{{"k", "v"}}));
  ASSERT_EQ(file->tensors().size(), tensors.size());
  for (const TensorToWrite& wanted : tensors) {
    const TensorInfo* found = file->find(wanted.name);
    ASSERT_NE(found, nullptr) << wanted.name;
    EXPECT_EQ(found->dtype, wanted.dtype);
    EXPECT_EQ(found->shape, wanted.shape);
    const auto bytes = file->bytes(*found);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.bytes.begin(), wanted.bytes.end()));
  }
}

TEST(SafetensorsWriter, WritesAFileWithoutTensors) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_safetensors(real_file_system(), folder / "t", {}, {}).ok());
  EXPECT_EQ(get_file(folder / "t"), safetensors_bytes("{}      "));
}

TEST(SafetensorsWriter, RefusesWhatItsReaderWouldRefuse) {
  TemporaryFolder folder;
  auto& files = real_file_system();
  auto wrong_size = two_tensors();
  wrong_size[0].shape = {3};
  auto negative = two_tensors();
  negative[0].shape = {-1, -2};
  auto twice = two_tensors();
  twice[1].name = "b";
  auto no_text = two_tensors();
  no_text[0].name = "\xff";
  EXPECT_EQ(write_safetensors(files, folder / "t", wrong_size).error().code,
            "safetensors/wrong-size");
  EXPECT_EQ(write_safetensors(files, folder / "t", negative).error().code,
            "safetensors/wrong-size");
  EXPECT_EQ(write_safetensors(files, folder / "t", twice).error().code,
            "safetensors/duplicate-key");
  EXPECT_EQ(write_safetensors(files, folder / "t", no_text).error().code, "safetensors/bad-name");
  EXPECT_TRUE(files.list(folder.path())->empty());
}

class SafetensorsWriterStopped : public ::testing::TestWithParam<FaultKind> {};

TEST_P(SafetensorsWriterStopped, AtAnyOperationLeavesOldOrNew) {
  TemporaryFolder whole;
  FaultyFileSystem counting;
  ASSERT_TRUE(write_safetensors(counting, whole / "t", two_tensors()).ok());
  const std::string fresh = get_file(whole / "t");
  for (int at = 1; at <= counting.operations(); ++at) {
    TemporaryFolder folder;
    put_file(folder / "t", "old");
    FaultyFileSystem files({.kind = GetParam(), .at = at});
    EXPECT_THROW(static_cast<void>(write_safetensors(files, folder / "t", two_tensors())), Killed);
    const std::string content = get_file(folder / "t");
    EXPECT_TRUE(content == "old" || content == fresh) << "at operation " << at;
  }
}

INSTANTIATE_TEST_SUITE_P(By, SafetensorsWriterStopped,
                         ::testing::Values(FaultKind::kill, FaultKind::power_cut));

}  // namespace
}  // namespace lowbit
