// Any bytes as a safetensors file: an error, or tensors whose bytes all lie in the file.
#include <cstdint>

#include "../tests/support/memory_file_system.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lowbit::testing::MemoryFileSystem files(
      {{"fuzz.safetensors", std::string(reinterpret_cast<const char*>(data), size)}});
  const auto file = lowbit::SafetensorsFile::open(files, "fuzz.safetensors");
  if (!file) return 0;
  for (const lowbit::TensorInfo& tensor : file->tensors()) {
    const auto bytes = file->bytes(tensor);
    const auto width = static_cast<std::int64_t>(lowbit::size_bytes(tensor.dtype));
    CHECK(static_cast<std::int64_t>(bytes.size()) == tensor.elements() * width);
    volatile int sum = 0;
    for (const std::byte byte : bytes) sum = sum ^ std::to_integer<int>(byte);
  }
  return 0;
}
