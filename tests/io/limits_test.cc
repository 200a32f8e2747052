// Limits so large that reaching them takes seconds; the others are tested beside their readers.
#include "io/limits.h"

#include <gtest/gtest.h>

#include <string>

#include "io/json.h"
#include "io/safetensors.h"
#include "support/memory_file_system.h"
#include "support/safetensors_bytes.h"

namespace lowbit {
namespace {

TEST(JsonLimits, RefusesMoreValuesThanTheLimit) {
  std::string inside;  // with the array itself: the limit less one
  for (std::size_t i = 0; i < kMaxJsonValues - 2; ++i) inside += "1,";
  EXPECT_TRUE(parse_json("[" + inside + "1]").ok());
  EXPECT_EQ(parse_json("[" + inside + "1,1]").error().code, "json/too-large");
}

TEST(SafetensorsLimits, RefusesMoreTensorsThanTheLimit) {
  std::string header = "{";
  for (std::size_t i = 0; i <= kMaxTensorsInFile; ++i) {
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":0";
  }
  testing::MemoryFileSystem files({{"a", testing::safetensors_bytes(header + "}")}});
  EXPECT_EQ(SafetensorsFile::open(files, "a").error().code, "safetensors/too-many-tensors");
}

}  // namespace
}  // namespace lowbit
