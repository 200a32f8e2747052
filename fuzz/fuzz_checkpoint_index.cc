// Any bytes as the index of a checkpoint that has one shard with one tensor.
#include <cstdint>

#include "../tests/support/memory_file_system.h"
#include "../tests/support/safetensors_bytes.h"
#include "io/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lowbit::testing::MemoryFileSystem files(
      {{"config.json", "{}"},
       {"1.safetensors", lowbit::testing::safetensors_bytes(
                             R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", "1234")},
       {"model.safetensors.index.json", std::string(reinterpret_cast<const char*>(data), size)}});
  const auto checkpoint = lowbit::Checkpoint::open(files, "folder");
  if (!checkpoint) return 0;
  for (const std::string& name : checkpoint->names()) {
    CHECK(checkpoint->floats(name, {2}).ok());
  }
  return 0;
}
