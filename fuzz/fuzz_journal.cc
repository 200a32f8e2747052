// Any bytes as the journal of a folder: refused, or continued; never a look outside the folder.
#include <cstdint>

#include "../tests/support/memory_file_system.h"
#include "io/journal.h"

namespace {

class OneFolder : public lowbit::testing::MemoryFileSystem {
 public:
  using MemoryFileSystem::MemoryFileSystem;
  lowbit::Status make_folders(const lowbit::Path&) override { return {}; }
  lowbit::Status remove(const lowbit::Path& path) override {
    CHECK(path.parent_path() == "folder" && path.filename() != "..");
    return {};
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  OneFolder files({{".lowbit-journal", std::string(reinterpret_cast<const char*>(data), size)}});
  static_cast<void>(lowbit::Journal::open(files, "folder", {{"seed", "42"}}));
  static_cast<void>(lowbit::Journal::discard(files, "folder"));
  return 0;
}
