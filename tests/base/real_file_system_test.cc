#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <thread>

#include "base/file.h"
#include "support/temporary_folder.h"

namespace lowbit {
namespace {

using ::testing::ElementsAre;
using testing::get_file;
using ::testing::HasSubstr;
using testing::put_file;
using testing::TemporaryFolder;

constexpr std::uint64_t kEnough = 1 << 20;

class RealFileSystem : public ::testing::Test {
 protected:
  FileSystem& files_ = real_file_system();
  TemporaryFolder folder_;
};

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

Status write_text(WritableFile& file, const std::string& text) {
  return file.write(std::as_bytes(std::span(text)));
}

TEST_F(RealFileSystem, MapsAFile) {
  put_file(folder_ / "file", "some bytes");
  EXPECT_EQ(text_of(**files_.map(folder_ / "file")), "some bytes");
}

TEST_F(RealFileSystem, MapsAnEmptyFile) {
  put_file(folder_ / "file", "");
  EXPECT_TRUE((*files_.map(folder_ / "file"))->bytes().empty());
}

TEST_F(RealFileSystem, ReadsUpToTheLimitAndRefusesMore) {
  put_file(folder_ / "file", "12345");
  EXPECT_EQ(*files_.read(folder_ / "file", 5), "12345");
  const auto refused = files_.read(folder_ / "file", 4);
  EXPECT_EQ(refused.error().code, "file/too-large");
  EXPECT_THAT(refused.error().message, HasSubstr("has 5 bytes, at most 4 are read"));
}

TEST_F(RealFileSystem, ReadsFilesThatDoNotKnowTheirSize) {
  if (!files_.exists("/proc/self/status")) GTEST_SKIP() << "no /proc here";
  EXPECT_THAT(*files_.read("/proc/self/status", kEnough), HasSubstr("Name:"));
  EXPECT_EQ(files_.read("/proc/self/status", 10).error().code, "file/too-large");
}

TEST_F(RealFileSystem, NamesAMissingFile) {
  for (const Error& error :
       {files_.map(folder_ / "gone").error(), files_.read(folder_ / "gone", kEnough).error(),
        files_.info(folder_ / "gone").error(), files_.list(folder_ / "gone").error(),
        files_.create(folder_ / "gone" / "file").error(),
        files_.append(folder_ / "gone" / "file").error(),
        files_.rename(folder_ / "gone", folder_ / "here").error(),
        files_.sync_folder(folder_ / "gone").error()}) {
    EXPECT_EQ(error.code, "file/missing");
    EXPECT_EQ(error.kind, ErrorKind::environment);
  }
  EXPECT_THAT(files_.map(folder_ / "gone").error().message, HasSubstr((folder_ / "gone").string()));
}

TEST_F(RealFileSystem, RefusesAFolderInPlaceOfAFile) {
  EXPECT_EQ(files_.map(folder_.path()).error().code, "file/is-folder");
  EXPECT_EQ(files_.read(folder_.path(), kEnough).error().code, "file/is-folder");
  EXPECT_EQ(files_.create(folder_.path()).error().code, "file/is-folder");
  EXPECT_EQ(files_.remove(folder_.path()).error().code, "file/is-folder");
}

TEST_F(RealFileSystem, RefusesAFileInPlaceOfAFolder) {
  put_file(folder_ / "file", "");
  EXPECT_EQ(files_.list(folder_ / "file").error().code, "file/not-a-folder");
  EXPECT_EQ(files_.map(folder_ / "file" / "below").error().code, "file/not-a-folder");
  EXPECT_EQ(files_.make_folders(folder_ / "file").error().code, "file/not-a-folder");
  EXPECT_EQ(files_.make_folders(folder_ / "file" / "below").error().code, "file/not-a-folder");
}

TEST_F(RealFileSystem, APipeDoesNotHangIt) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(files_.map(folder_ / "pipe").error().code, "file/not-regular");
  EXPECT_EQ(files_.read(folder_ / "pipe", kEnough).error().code, "file/not-regular");
}

// Root may do everything: as root, the test does this as another user.
TEST_F(RealFileSystem, NamesWhatItMayNotTouch) {
  put_file(folder_ / "secret", "x");
  ASSERT_EQ(::chmod((folder_ / "secret").c_str(), 0), 0);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0555), 0);
  const uid_t user = ::geteuid();
  constexpr uid_t kNobody = 65534;
  ASSERT_TRUE(user != 0 || ::seteuid(kNobody) == 0);
  const auto mapped = files_.map(folder_ / "secret");
  const auto created = files_.create(folder_ / "new");
  const auto removed = files_.remove(folder_ / "secret");
  ASSERT_TRUE(user != 0 || ::seteuid(user) == 0);
  ::chmod(folder_.path().c_str(), 0755);
  EXPECT_EQ(mapped.error().code, "file/permission");
  EXPECT_EQ(created.error().code, "file/permission");
  EXPECT_EQ(removed.error().code, "file/permission");
}

TEST_F(RealFileSystem, AFullDiskIsNamedWithTheBytesWantedAndFree) {
  if (!files_.exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  auto file = files_.create("/dev/full").value();
  const Error error = write_text(*file, std::string(12345, 'x')).error();
  EXPECT_EQ(error.code, "file/no-space");
  EXPECT_EQ(error.kind, ErrorKind::environment);
  EXPECT_THAT(error.message, HasSubstr("/dev/full"));
  EXPECT_THAT(error.message, HasSubstr("12345 bytes wanted"));
  EXPECT_THAT(error.message, ::testing::ContainsRegex("[0-9]+ free"));
}

// A pipe takes a write in pieces, and a timer interrupts it all the time.
TEST_F(RealFileSystem, WritesAllDespiteShortWritesAndInterruptions) {
  const Path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const int read_end = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(read_end, 0);
  auto file = files_.create(pipe).value();
  ASSERT_EQ(::fcntl(read_end, F_SETFL, 0), 0);

  std::string sent(4 << 20, ' ');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 31 >> 3);
  std::string received;
  std::thread reader([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // the interruptions are for the writer
    std::array<char, 4096> buffer{};
    for (ssize_t got = 0; (got = ::read(read_end, buffer.data(), buffer.size())) > 0;) {
      received.append(buffer.data(), static_cast<std::size_t>(got));
    }
  });

  struct sigaction action = {}, before = {};
  action.sa_handler = [](int) {};  // and no SA_RESTART
  ::sigaction(SIGALRM, &action, &before);
  const itimerval often{{0, 200}, {0, 200}}, never{};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  const Status written = write_text(*file, sent);
  ::setitimer(ITIMER_REAL, &never, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);

  EXPECT_TRUE(file->close().ok());
  reader.join();
  ::close(read_end);
  EXPECT_TRUE(written.ok());
  EXPECT_TRUE(received == sent);
}

TEST_F(RealFileSystem, CreateTruncatesAndAppendDoesNot) {
  put_file(folder_ / "file", "old");
  auto appended = files_.append(folder_ / "file").value();
  ASSERT_TRUE(write_text(*appended, " new").ok());
  ASSERT_TRUE(appended->sync().ok());
  ASSERT_TRUE(appended->close().ok());
  EXPECT_EQ(get_file(folder_ / "file"), "old new");
  ASSERT_TRUE(files_.create(folder_ / "file").ok());
  EXPECT_EQ(get_file(folder_ / "file"), "");
}

TEST_F(RealFileSystem, AClosedFileTakesNoMore) {
  auto file = files_.create(folder_ / "file").value();
  ASSERT_TRUE(file->close().ok());
  EXPECT_FALSE(write_text(*file, "x").ok());
  EXPECT_FALSE(file->close().ok());
}

TEST_F(RealFileSystem, MakesFoldersAboveAndAcceptsThoseThere) {
  const Path deep = folder_ / "a" / "b" / "c";
  ASSERT_TRUE(files_.make_folders(deep).ok());
  EXPECT_TRUE(files_.info(deep)->is_folder);
  EXPECT_TRUE(files_.make_folders(deep).ok());
  EXPECT_TRUE(files_.make_folders(folder_ / "d" / "").ok());
  EXPECT_TRUE(files_.info(folder_ / "d")->is_folder);
}

TEST_F(RealFileSystem, ListsNamesInOrder) {
  for (const char* name : {"b", "a", ".c"}) put_file(folder_ / name, "");
  EXPECT_THAT(*files_.list(folder_.path()), ElementsAre(".c", "a", "b"));
}

TEST_F(RealFileSystem, RemovesAFileAndDoesNotMindAMissingOne) {
  put_file(folder_ / "file", "");
  EXPECT_TRUE(files_.remove(folder_ / "file").ok());
  EXPECT_FALSE(files_.exists(folder_ / "file"));
  EXPECT_TRUE(files_.remove(folder_ / "file").ok());
}

TEST_F(RealFileSystem, TellsSizesAndFreeSpace) {
  put_file(folder_ / "file", "12345");
  EXPECT_EQ(files_.info(folder_ / "file")->size_bytes, 5u);
  EXPECT_FALSE(files_.info(folder_ / "file")->is_folder);
  EXPECT_GT(*files_.free_bytes(folder_.path()), 0u);
}

TEST_F(RealFileSystem, RenameReplacesAtOnce) {
  put_file(folder_ / "from", "new");
  put_file(folder_ / "to", "old");
  ASSERT_TRUE(files_.rename(folder_ / "from", folder_ / "to").ok());
  EXPECT_EQ(get_file(folder_ / "to"), "new");
  EXPECT_FALSE(files_.exists(folder_ / "from"));
}

}  // namespace
}  // namespace lowbit
