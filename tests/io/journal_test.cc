#include "io/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "support/faulty_file_system.h"
#include "support/temporary_folder.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::get_file;
using ::testing::HasSubstr;
using testing::put_file;
using testing::TemporaryFolder;

const Journal::Inputs kInputs{{"weights model.safetensors", "abc"}, {"seed", "42"}};

class JournalFolder : public ::testing::Test {
 protected:
  Result<Journal> open(const Journal::Inputs& inputs = kInputs) {
    return Journal::open(files_, folder_.path(), inputs);
  }
  // A run that finished steps "one" and "two" with a file each, and then stopped.
  void stop_after_two_steps() {
    auto journal = open();
    ASSERT_TRUE(journal.ok()) << journal.error().message;
    for (const std::string step : {"one", "two"}) {
      ASSERT_TRUE(write_whole(files_, folder_ / step, "content of " + step).ok());
      ASSERT_TRUE(journal->finish(step, {step}, R"({"note":")" + step + "\"}").ok());
    }
  }
  Path journal_path() const { return folder_ / ".lowbit-journal"; }

  testing::FaultyFileSystem files_;  // without a fault; only faster
  TemporaryFolder folder_;
};

TEST_F(JournalFolder, StartsInANewFolder) {
  const auto journal = Journal::open(files_, folder_ / "new" / "one", kInputs);
  ASSERT_TRUE(journal.ok()) << journal.error().message;
  EXPECT_FALSE(journal->finished("one"));
  EXPECT_TRUE(journal->all_files().empty());
}

TEST_F(JournalFolder, ContinuesAfterTheLastFinishedStep) {
  stop_after_two_steps();
  auto journal = open();
  ASSERT_TRUE(journal.ok()) << journal.error().message;
  EXPECT_TRUE(journal->finished("one"));
  EXPECT_TRUE(journal->finished("two"));
  EXPECT_FALSE(journal->finished("three"));
  EXPECT_EQ(journal->note_of("two"), R"({"note":"two"})");
  EXPECT_EQ(journal->note_of("three"), "");
  ASSERT_EQ(journal->all_files().size(), 2u);
  EXPECT_EQ(journal->all_files()[1].name, "two");
  EXPECT_EQ(journal->all_files()[1].size_bytes, 14u);

  ASSERT_TRUE(journal->finish("three", {}, "").ok());
  EXPECT_TRUE(open()->finished("three"));
}

TEST_F(JournalFolder, DropsATornLastLineAndGoesOn) {
  stop_after_two_steps();
  const std::string whole = get_file(journal_path());
  const std::size_t last_line = whole.rfind('\n', whole.size() - 2) + 1;
  for (const std::string& torn :
       {whole.substr(0, whole.size() - 1), whole.substr(0, last_line + 10),
        whole.substr(0, last_line + 1), whole.substr(0, last_line) + std::string(50, '\0'),
        whole.substr(0, last_line) + std::string(50, '\0') + "\n"}) {
    put_file(journal_path(), torn);
    auto journal = open();
    ASSERT_TRUE(journal.ok()) << journal.error().message;
    EXPECT_TRUE(journal->finished("one"));
    EXPECT_FALSE(journal->finished("two"));
    ASSERT_TRUE(journal->finish("two", {"two"}, R"({"note":"two"})").ok());
    EXPECT_EQ(get_file(journal_path()), whole);
  }
}

TEST_F(JournalFolder, RefusesDamageBeforeTheLastLine) {
  stop_after_two_steps();
  const std::string whole = get_file(journal_path());
  const std::size_t last_line = whole.rfind('\n', whole.size() - 2) + 1;
  // But for the line break before the last line: without it both are one torn line.
  for (std::size_t at = 0; at + 1 < last_line; at += 3) {
    std::string damaged = whole;
    damaged[at] = damaged[at] == '3' ? '4' : '3';
    put_file(journal_path(), damaged);
    ASSERT_EQ(open().error().code, "journal/damaged") << "byte " << at;
  }
  EXPECT_THAT(open().error().message, AllOf(HasSubstr("line 2"), HasSubstr("--restart")));
}

TEST_F(JournalFolder, RefusesAnEmptyJournal) {
  put_file(journal_path(), "");
  EXPECT_EQ(open().error().code, "journal/damaged");
}

TEST_F(JournalFolder, NamesTheFirstChangedInput) {
  stop_after_two_steps();
  const Error error = open({{"weights model.safetensors", "abd"}, {"seed", "43"}}).error();
  EXPECT_EQ(error.code, "journal/changed-input");
  EXPECT_THAT(error.message,
              AllOf(HasSubstr("'weights model.safetensors' was 'abc'"), HasSubstr("is 'abd' now")));
  EXPECT_THAT(open({{"weights model.safetensors", "abc"}, {"seed", "43"}}).error().message,
              HasSubstr("'seed' was '42'"));
}

TEST_F(JournalFolder, NamesANewAndAMissingInput) {
  stop_after_two_steps();
  auto more = kInputs;
  more.emplace_back("recipe", "x");
  EXPECT_THAT(open(more).error().message, HasSubstr("'recipe' was absent"));
  const Error fewer = open({{"weights model.safetensors", "abc"}}).error();
  EXPECT_EQ(fewer.code, "journal/changed-input");
  EXPECT_THAT(fewer.message, HasSubstr("'seed' was '42'"));
}

TEST_F(JournalFolder, TheOrderOfInputsDoesNotMatter) {
  stop_after_two_steps();
  EXPECT_TRUE(open({kInputs[1], kInputs[0]}).ok());
}

TEST_F(JournalFolder, RefusesFilesThatChangedSinceTheirStep) {
  stop_after_two_steps();
  put_file(folder_ / "two", "Content of two");  // the same size
  const Error error = open().error();
  EXPECT_EQ(error.code, "journal/changed-output");
  EXPECT_THAT(error.message, AllOf(HasSubstr((folder_ / "two").string()), HasSubstr("SHA-256")));
  put_file(folder_ / "two", "content");
  EXPECT_THAT(open().error().message, HasSubstr("has 7 bytes, step 'two' left 14"));
  std::filesystem::remove(folder_ / "two");
  EXPECT_EQ(open().error().code, "journal/changed-output");
}

TEST_F(JournalFolder, RefusesAFolderOfSomethingElse) {
  put_file(folder_ / "thesis.txt", "");
  const Error error = open().error();
  EXPECT_EQ(error.code, "journal/foreign-folder");
  EXPECT_THAT(error.message, HasSubstr("'thesis.txt'"));
  EXPECT_THAT(*files_.list(folder_.path()), ElementsAre("thesis.txt"));
}

TEST_F(JournalFolder, DiscardRemovesWhatTheRunWroteAndNothingElse) {
  stop_after_two_steps();
  auto journal = open();
  ASSERT_TRUE(journal->begin("three", {"three", "more"}).ok());
  for (const char* name : {"three", "more.partial", "mine"}) put_file(folder_ / name, "");
  const Status status = Journal::discard(files_, folder_.path());
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_THAT(*files_.list(folder_.path()), ElementsAre("mine"));
}

TEST_F(JournalFolder, DiscardThenOpenStartsAnew) {
  stop_after_two_steps();
  ASSERT_TRUE(Journal::discard(files_, folder_.path()).ok());
  const auto journal = open({{"seed", "7"}});
  ASSERT_TRUE(journal.ok()) << journal.error().message;
  EXPECT_FALSE(journal->finished("one"));
}

TEST_F(JournalFolder, DiscardCopesWithADamagedJournalAndWithNone) {
  EXPECT_TRUE(Journal::discard(files_, folder_ / "not-there").ok());
  stop_after_two_steps();
  put_file(journal_path(), "garbage\n" + get_file(journal_path()));
  EXPECT_TRUE(Journal::discard(files_, folder_.path()).ok());
  EXPECT_TRUE(files_.list(folder_.path())->empty());
}

// A journal could come with a downloaded folder.
TEST_F(JournalFolder, NeverTouchesFilesOutsideItsFolder) {
  put_file(folder_ / "outside", "keep me");
  const Path inner = folder_ / "inner";
  auto journal = Journal::open(files_, inner, kInputs);
  const std::string first_line = get_file(inner / ".lowbit-journal");
  const std::string line = R"({"begin":"x","files":["../outside"])";
  const std::string sum = sha256_hex(line + "}").substr(0, 16);
  put_file(inner / ".lowbit-journal", first_line + line + ",\"sum\":\"" + sum + "\"}\n");
  EXPECT_EQ(Journal::open(files_, inner, kInputs).error().code, "journal/damaged");
  ASSERT_TRUE(Journal::discard(files_, inner).ok());
  EXPECT_EQ(get_file(folder_ / "outside"), "keep me");
}

TEST_F(JournalFolder, KeepsBegunStepsOpen) {
  stop_after_two_steps();
  auto journal = open();
  ASSERT_TRUE(journal->begin("three", {"three"}).ok());
  EXPECT_FALSE(open()->finished("three"));
  put_file(folder_ / "three", "3");
  ASSERT_TRUE(journal->finish("three", {"three"}, "").ok());
  EXPECT_TRUE(open()->finished("three"));
}

TEST_F(JournalFolder, ReportsAStepWhoseFileIsNotThere) {
  auto journal = open();
  EXPECT_EQ(journal->finish("one", {"nothing"}, "").error().code, "file/missing");
  EXPECT_FALSE(journal->finished("one"));
}

TEST_F(JournalFolder, RemoveLeavesTheOutput) {
  stop_after_two_steps();
  ASSERT_TRUE(open()->remove().ok());
  EXPECT_THAT(*files_.list(folder_.path()), ElementsAre("one", "two"));
}

// The line that did not fit is cut off again by the next one.
TEST_F(JournalFolder, AStepCanBeFinishedAgainAfterAFullDisk) {
  stop_after_two_steps();
  testing::FaultyFileSystem counting;
  auto counted = Journal::open(counting, folder_.path(), kInputs);
  const int before = counting.operations();
  for (const int ahead : {1, 2, 3, 4}) {  // append, write, sync, close
    testing::FaultyFileSystem files(
        {.kind = ahead == 2 ? testing::FaultKind::short_write : testing::FaultKind::no_space,
         .at = before + ahead});
    auto journal = Journal::open(files, folder_.path(), kInputs);
    const std::string step = "again " + std::to_string(ahead);
    EXPECT_EQ(journal->finish(step, {}, "").error().code, "file/no-space");
    EXPECT_FALSE(journal->finished(step));
    ASSERT_TRUE(journal->finish(step, {}, "").ok());
    EXPECT_TRUE(open()->finished(step)) << ahead;
  }
}

}  // namespace
}  // namespace lowbit
