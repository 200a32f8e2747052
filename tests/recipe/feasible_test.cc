// What cannot finish is refused before any work, by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "recipe/machine_file_system.h"
#include "recipe/plan.h"

namespace lowbit {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Feasible : public testing::Test {
 protected:
  Feasible() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = Path(testing::TempDir()) /
              (std::string("lowbit-feasible-") + test->name() + "-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    plan_.model.max_positions = 2048;
    plan_.output_bytes = 1'000;
    plan_.peak_memory_bytes = 1'000'000'000;
    files_.free_disk_bytes = 1'000'000;
  }
  ~Feasible() override { std::filesystem::remove_all(folder_); }

  Status check() { return check_feasible(plan_, files_, folder_ / "out"); }
  void touch(const std::string& name) {
    std::filesystem::create_directories(folder_ / "out");
    std::ofstream(folder_ / "out" / name) << "x";
  }

  Plan plan_;
  MachineFileSystem files_;
  Path folder_;
};

TEST_F(Feasible, AcceptsWhatFits) {
  files_.system_files["/proc/meminfo"] = "MemTotal: 1 kB\nMemAvailable:  977000 kB\nMemX: 2 kB\n";
  const Status status = check();
  EXPECT_TRUE(status.ok()) << status.error().message;
}

TEST_F(Feasible, RefusesMoreMemoryThanTheMachineHas) {
  files_.system_files["/proc/meminfo"] = "MemTotal: 99999999 kB\nMemAvailable:  900000 kB\n";
  const Status status = check();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, "plan/memory");
  EXPECT_EQ(status.error().kind, ErrorKind::environment);
  EXPECT_THAT(status.error().message, AllOf(HasSubstr("1000 MB"), HasSubstr("922 MB")));
}

TEST_F(Feasible, LooksAtTheControlGroupAndLeavesItsCacheOut) {
  files_.system_files["/proc/meminfo"] = "MemAvailable: 99999999 kB\n";
  files_.system_files["/sys/fs/cgroup/memory.max"] = "1500000000\n";
  files_.system_files["/sys/fs/cgroup/memory.current"] = "800000000\n";
  files_.system_files["/sys/fs/cgroup/memory.stat"] = "anon 1\ninactive_file 100000000\n";
  EXPECT_EQ(check().error().code, "plan/memory");
  files_.system_files["/sys/fs/cgroup/memory.stat"] =
      "anon 1\ninactive_file 100000000\nactive_file 300000000\n";
  EXPECT_TRUE(check().ok());
  files_.system_files["/sys/fs/cgroup/memory.max"] = "max\n";
  files_.system_files["/sys/fs/cgroup/memory.stat"] = "";
  EXPECT_TRUE(check().ok());
}

TEST_F(Feasible, LooksAtTheOlderControlGroup) {
  files_.system_files["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "900000000\n";
  files_.system_files["/sys/fs/cgroup/memory/memory.usage_in_bytes"] = "1\n";
  EXPECT_EQ(check().error().code, "plan/memory");
}

TEST_F(Feasible, RefusesMoreThanTheDiskHas) {
  plan_.scratch_disk_bytes = 1'000'000;
  const Status status = check();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, "plan/disk");
  EXPECT_EQ(status.error().kind, ErrorKind::environment);
  EXPECT_THAT(status.error().message, AllOf(HasSubstr(folder_.string()), HasSubstr("2 MB")));
}

TEST_F(Feasible, RefusesAFolderOfSomethingElse) {
  touch("notes.txt");
  const Status status = check();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, "plan/output-not-empty");
  EXPECT_THAT(status.error().message, HasSubstr("notes.txt"));
}

TEST_F(Feasible, GoesOnInAFolderWithAJournal) {
  touch("model-00001-of-00002.safetensors");
  touch(".lowbit-journal");
  EXPECT_TRUE(check().ok());
}

TEST_F(Feasible, LeavesAFinishedRunToTheRunItself) {
  touch("model.safetensors");
  std::ofstream(folder_ / "out" / "config.json") << R"({"lowbit": {"version": 1}})";
  EXPECT_TRUE(check().ok());
  std::ofstream(folder_ / "out" / "config.json") << R"({"model_type": "llama"})";
  EXPECT_EQ(check().error().code, "plan/output-not-empty");
}

TEST_F(Feasible, TakesAFolderThatHoldsOnlyAHalfWrittenFile) {
  touch(".lowbit-journal.partial");
  EXPECT_TRUE(check().ok());
}

TEST_F(Feasible, RefusesAnOutputThatIsAFile) {
  std::ofstream(folder_ / "out") << "x";
  EXPECT_EQ(check().error().code, "plan/output-not-empty");
}

TEST_F(Feasible, RefusesWindowsLongerThanTheModel) {
  plan_.recipe.name = "mine";
  plan_.recipe.calibration.length = 4096;
  EXPECT_TRUE(check().ok()) << "without a learn pass there are no windows";
  plan_.recipe.learn.emplace_back();
  const Status status = check();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, "plan/window-too-long");
  EXPECT_THAT(status.error().message, AllOf(HasSubstr("4096"), HasSubstr("2048")));
}

}  // namespace
}  // namespace lowbit
