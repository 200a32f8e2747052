// The test file system itself: a fault that never happens would make every kill test pass.
#include "support/faulty_file_system.h"

#include <gtest/gtest.h>

#include "support/temporary_folder.h"

namespace lowbit::testing {
namespace {

void write_and_sync_half(FileSystem& files, const Path& path) {
  auto file = files.create(path).value();
  const std::string text = "1234";
  ASSERT_TRUE(file->write(std::as_bytes(std::span(text))).ok());
  ASSERT_TRUE(file->sync().ok());
  ASSERT_TRUE(file->write(std::as_bytes(std::span(text))).ok());
  ASSERT_TRUE(file->close().ok());
}

TEST(FaultyFileSystem, CountsOperations) {
  TemporaryFolder folder;
  FaultyFileSystem files;
  write_and_sync_half(files, folder / "file");
  EXPECT_EQ(files.operations(), 5);
}

TEST(FaultyFileSystem, AKillDoesHalfOfAWriteAndEndsEverything) {
  TemporaryFolder folder;
  FaultyFileSystem files({.kind = FaultKind::kill, .at = 4});
  EXPECT_THROW(write_and_sync_half(files, folder / "file"), Killed);
  EXPECT_EQ(get_file(folder / "file"), "123412");
  EXPECT_THROW(static_cast<void>(files.remove(folder / "file")), Killed);
  EXPECT_THROW(static_cast<void>(files.exists(folder / "file")), Killed);
  EXPECT_TRUE(real_file_system().exists(folder / "file"));
}

TEST(FaultyFileSystem, APowerCutDropsWhatWasNotSyncedAlsoAfterARename) {
  TemporaryFolder folder;
  FaultyFileSystem files({.kind = FaultKind::power_cut, .at = 7});
  write_and_sync_half(files, folder / "file");
  ASSERT_TRUE(files.rename(folder / "file", folder / "moved").ok());
  EXPECT_THROW(static_cast<void>(files.sync_folder(folder.path())), Killed);
  EXPECT_EQ(get_file(folder / "moved"), "1234");
}

TEST(FaultyFileSystem, AppendedDataIsDroppedDownToWhatWasThere) {
  TemporaryFolder folder;
  put_file(folder / "file", "old ");
  FaultyFileSystem files({.kind = FaultKind::power_cut, .at = 3});
  auto file = files.append(folder / "file").value();
  const std::string text = "new";
  ASSERT_TRUE(file->write(std::as_bytes(std::span(text))).ok());
  EXPECT_THROW(static_cast<void>(file->sync()), Killed);
  EXPECT_EQ(get_file(folder / "file"), "old ");
}

TEST(FaultyFileSystem, AFullDiskFailsOnceAndAShortWriteDoesHalf) {
  TemporaryFolder folder;
  FaultyFileSystem full({.kind = FaultKind::no_space, .at = 1});
  EXPECT_EQ(full.create(folder / "file").error().code, "file/no-space");
  EXPECT_TRUE(full.create(folder / "file").ok());

  FaultyFileSystem shortened({.kind = FaultKind::short_write, .at = 2});
  auto file = shortened.create(folder / "file").value();
  const std::string text = "1234";
  EXPECT_EQ(file->write(std::as_bytes(std::span(text))).error().code, "file/no-space");
  EXPECT_EQ(get_file(folder / "file"), "12");
}

}  // namespace
}  // namespace lowbit::testing
