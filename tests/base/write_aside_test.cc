// write_whole: whatever stops it and wherever, the file is the old one or the new one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "support/faulty_file_system.h"
#include "support/temporary_folder.h"

namespace lowbit {
namespace {

using testing::Fault;
using testing::FaultKind;
using testing::FaultyFileSystem;
using testing::get_file;
using testing::Killed;
using testing::put_file;
using testing::TemporaryFolder;

const std::string kOld = "the old content";
const std::string kNew(1000, 'n');

int operations_of_a_write() {
  TemporaryFolder folder;
  FaultyFileSystem files;
  EXPECT_TRUE(write_whole(files, folder / "file", kNew).ok());
  return files.operations();
}

TEST(WriteWhole, PutsTheContentInPlaceAndLeavesNothingElse) {
  TemporaryFolder folder;
  put_file(folder / "file", kOld);
  ASSERT_TRUE(write_whole(real_file_system(), folder / "file", kNew).ok());
  EXPECT_EQ(get_file(folder / "file"), kNew);
  EXPECT_EQ(*real_file_system().list(folder.path()), std::vector<std::string>{"file"});
}

class WriteWholeStopped : public ::testing::TestWithParam<FaultKind> {};

TEST_P(WriteWholeStopped, AtAnyOperationLeavesOldOrNew) {
  const int operations = operations_of_a_write();
  ASSERT_GE(operations, 6);  // create, write, sync, close, rename, sync the folder
  int old_seen = 0, new_seen = 0;
  for (int at = 1; at <= operations; ++at) {
    TemporaryFolder folder;
    put_file(folder / "file", kOld);
    FaultyFileSystem files({.kind = GetParam(), .at = at});
    EXPECT_THROW(static_cast<void>(write_whole(files, folder / "file", kNew)), Killed);
    const std::string content = get_file(folder / "file");
    EXPECT_TRUE(content == kOld || content == kNew) << "at operation " << at << ": " << content;
    ++(content == kOld ? old_seen : new_seen);
    // And the next start of the program gets through.
    FaultyFileSystem faultless;
    ASSERT_TRUE(write_whole(faultless, folder / "file", kNew).ok());
    EXPECT_EQ(get_file(folder / "file"), kNew);
  }
  EXPECT_GT(old_seen, 0);
  EXPECT_GT(new_seen, 0);
}

INSTANTIATE_TEST_SUITE_P(By, WriteWholeStopped,
                         ::testing::Values(FaultKind::kill, FaultKind::power_cut));

TEST(WriteWhole, AFullDiskIsAnErrorAndNothingIsLeftBehind) {
  for (const FaultKind kind : {FaultKind::no_space, FaultKind::short_write}) {
    for (int at = 1; at <= operations_of_a_write() - 1; ++at) {  // but for the folder's sync
      if (kind == FaultKind::short_write && at != 2) continue;
      TemporaryFolder folder;
      put_file(folder / "file", kOld);
      FaultyFileSystem files({.kind = kind, .at = at});
      const Status status = write_whole(files, folder / "file", kNew);
      ASSERT_FALSE(status.ok()) << at;
      EXPECT_EQ(status.error().code, "file/no-space");
      EXPECT_EQ(get_file(folder / "file"), kOld);
      EXPECT_EQ(*real_file_system().list(folder.path()), std::vector<std::string>{"file"});
    }
  }
}

TEST(WriteAside, ReportsWhatTheFillerReports) {
  TemporaryFolder folder;
  const Status status =
      write_aside(real_file_system(), folder / "file",
                  [](WritableFile&) -> Status { return bad_input("test/no", "not today"); });
  EXPECT_EQ(status.error().code, "test/no");
  EXPECT_TRUE(real_file_system().list(folder.path())->empty());
}

}  // namespace
}  // namespace lowbit
