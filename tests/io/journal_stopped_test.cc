// A small run with a journal, stopped at every operation by a kill, a power cut or a full disk: the
// same command again ends with the same folder as an unbroken run, and never loses a finished step.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "io/journal.h"
#include "io/safetensors.h"
#include "support/faulty_file_system.h"
#include "support/temporary_folder.h"

namespace lowbit {
namespace {

using testing::FaultKind;
using testing::FaultyFileSystem;
using testing::get_file;
using testing::Killed;
using testing::TemporaryFolder;

constexpr int kSteps = 3;
const Journal::Inputs kInputs{{"seed", "42"}};

std::string step_name(int step) { return "block " + std::to_string(step); }
std::string file_name(int step) { return "block-" + std::to_string(step) + ".safetensors"; }

// The run's steps, each with a file; the journal stays, so that the folder can be looked at.
// `finished`: the steps that this and earlier starts of the run were told are durable.
Status work(FileSystem& files, const Path& folder, std::set<int>& finished) {
  auto journal = Journal::open(files, folder, kInputs);
  if (!journal) return std::move(journal).error();
  for (int step = 0; step < kSteps; ++step) {
    if (journal->finished(step_name(step))) continue;
    EXPECT_FALSE(finished.contains(step)) << "step " << step << " was lost";
    const std::string data(static_cast<std::size_t>(100 + step), 'x');
    const TensorToWrite tensor{"t", DType::u8, {100 + step}, std::as_bytes(std::span(data))};
    if (Status begun = journal->begin(step_name(step), {file_name(step)}); !begun) return begun;
    Status written = write_safetensors(files, folder / file_name(step), {&tensor, 1});
    if (!written) return written;
    Status noted = journal->finish(step_name(step), {file_name(step)}, "note");
    if (!noted) return noted;
    finished.insert(step);
  }
  return {};
}

int operations_of_a_run() {
  TemporaryFolder folder;
  FaultyFileSystem counting;
  std::set<int> finished;
  EXPECT_TRUE(work(counting, folder / "out", finished).ok());
  return counting.operations();
}

void work_until_fault(const testing::Fault& fault, const Path& folder, std::set<int>& finished) {
  FaultyFileSystem files(fault);
  try {
    static_cast<void>(work(files, folder, finished));
  } catch (const Killed&) {
  }
}

std::map<std::string, std::string> outputs_of(const Path& folder) {
  std::map<std::string, std::string> outputs;
  for (const std::string& name : real_file_system().list(folder).value()) {
    if (name != ".lowbit-journal") outputs[name] = get_file(folder / name);
  }
  return outputs;
}

class RunStopped : public ::testing::TestWithParam<FaultKind> {};

TEST_P(RunStopped, AtAnyOperationGoesOnToTheSameFolder) {
  TemporaryFolder unbroken;
  std::set<int> all;
  FaultyFileSystem faultless;
  ASSERT_TRUE(work(faultless, unbroken / "out", all).ok());
  const auto wanted = outputs_of(unbroken / "out");
  ASSERT_EQ(wanted.size(), static_cast<std::size_t>(kSteps));

  const int operations = operations_of_a_run();
  for (int at = 1; at <= operations; ++at) {
    SCOPED_TRACE("stopped at operation " + std::to_string(at));
    TemporaryFolder folder;
    std::set<int> finished;
    work_until_fault({.kind = GetParam(), .at = at}, folder / "out", finished);
    const Status again = work(faultless, folder / "out", finished);
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(outputs_of(folder / "out"), wanted);
  }
}

TEST_P(RunStopped, AtAnyOperationCanBeDiscarded) {
  const int operations = operations_of_a_run();
  for (int at = 1; at <= operations; ++at) {
    SCOPED_TRACE("stopped at operation " + std::to_string(at));
    TemporaryFolder folder;
    std::set<int> finished;
    work_until_fault({.kind = GetParam(), .at = at}, folder / "out", finished);
    FaultyFileSystem faultless;
    ASSERT_TRUE(Journal::discard(faultless, folder / "out").ok());
    EXPECT_TRUE(Journal::open(faultless, folder / "out", {{"seed", "43"}}).ok());
    EXPECT_TRUE(outputs_of(folder / "out").empty());
  }
}

INSTANTIATE_TEST_SUITE_P(By, RunStopped,
                         ::testing::Values(FaultKind::kill, FaultKind::power_cut,
                                           FaultKind::no_space, FaultKind::short_write));

}  // namespace
}  // namespace lowbit
