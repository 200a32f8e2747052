#include "base/progress.h"

#include <gtest/gtest.h>

#include <csignal>

namespace lowbit {
namespace {

using ::testing::ExitedWithCode;
using ::testing::KilledBySignal;

TEST(Progress, WritesPlainLinesWhereThereIsNoTerminal) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("blocks", 4);
    progress.update(1, "loss 0.5");
    progress.update(2);  // too soon after the first: not shown
    progress.update(4);
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("blocks 1/4 (25 %), 0 s left, loss 0.5\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("2/4"), std::string::npos) << text;
  EXPECT_NE(text.find("blocks 4/4 (100 %), 0 s\n"), std::string::npos) << text;
}

TEST(Progress, DrawsNothingBeforeTheFirstUpdate) {
  ::testing::internal::CaptureStderr();
  { Progress progress("blocks", 0); }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

void exit_cleanly_after(int signal) {
  install_interrupt_handler();
  if (interrupted()) std::_Exit(1);
  std::raise(signal);
  std::_Exit(interrupted() ? 0 : 2);
}

TEST(InterruptHandlerDeathTest, TheFirstSignalIsOnlyNoted) {
  EXPECT_EXIT(exit_cleanly_after(SIGINT), ExitedWithCode(0), "");
  EXPECT_EXIT(exit_cleanly_after(SIGTERM), ExitedWithCode(0), "");
}

void raise_twice() {
  install_interrupt_handler();
  std::raise(SIGINT);
  std::raise(SIGINT);
}

TEST(InterruptHandlerDeathTest, TheSecondOneEndsTheProgram) {
  EXPECT_EXIT(raise_twice(), KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace lowbit
