// Runs the program on the cases of cases/*.txt; the form of a case is in case_file.h.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>

#include "cli/case_file.h"
#include "support/temporary_folder.h"

namespace {

using lowbit::testing::get_file;
using lowbit::testing::TemporaryFolder;
using testing::HasSubstr;
using testing::Not;

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

// The exit status of a shell line; 128 + signal as a shell has it.
int shell(const std::string& line) {
  const int status = std::system(("bash -c " + quoted(line)).c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool has_calibration() {
  static const bool kHas = shell(fmt::format("{} --version | grep -q 'calibration: LibTorch'",
                                             quoted(LOWBIT_PROGRAM))) == 0;
  return kHas;
}

class CommandLine : public testing::TestWithParam<CliCase> {};

TEST_P(CommandLine, DoesWhatTheCaseSays) {
  const CliCase& expected = GetParam();
  SCOPED_TRACE(expected.place + ": lowbit " + expected.run);
  if (expected.only == "calibration" && !has_calibration())
    GTEST_SKIP() << "built without LibTorch";
  if (expected.only == "no-calibration" && has_calibration()) GTEST_SKIP() << "built with LibTorch";

  const TemporaryFolder folder;
  const std::string source = LOWBIT_SOURCE_DIR;
  std::filesystem::create_directory_symlink(source + "/models", folder / "models");
  std::filesystem::create_directory_symlink(source + "/tests/data", folder / "data");
  const std::string enter = fmt::format("cd {} && ", quoted(folder.path().string()));
  for (const std::string& line : expected.setup) {
    ASSERT_EQ(shell(enter + line), 0) << "setup: " << line;
  }
  // Grouped, so that a case may chain runs of "$LOWBIT".
  const std::string program = fmt::format("export LOWBIT={}; ", quoted(LOWBIT_PROGRAM));
  const int status =
      shell(enter + program + "{ \"$LOWBIT\" " + expected.run + "\n} >OUT 2>ERR </dev/null");
  const std::string out = get_file(folder / "OUT");
  const std::string err = get_file(folder / "ERR");
  EXPECT_EQ(status, expected.status) << "standard error:\n" << err;
  for (const std::string& text : expected.out) EXPECT_THAT(out, HasSubstr(text));
  for (const std::string& text : expected.out_not) EXPECT_THAT(out, Not(HasSubstr(text)));
  for (const std::string& text : expected.err) EXPECT_THAT(err, HasSubstr(text));
  if (!expected.out_is.empty()) {
    EXPECT_EQ(out, expected.out_is + "\n");
  }
  if (expected.err_empty) {
    EXPECT_EQ(err, "");
  }
  if (status != 0 && status < 128) {
    EXPECT_THAT(err, HasSubstr("lowbit: error: "));
  }
}

INSTANTIATE_TEST_SUITE_P(Case, CommandLine,
                         testing::ValuesIn(read_cli_cases(LOWBIT_SOURCE_DIR "/tests/cli/cases")),
                         [](const auto& param) { return param.param.name; });

}  // namespace
