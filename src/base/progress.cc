#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>

namespace lowbit {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kRedrawTerminal = std::chrono::milliseconds(100);
constexpr auto kRedrawPlain = std::chrono::seconds(10);

std::string duration_text(double seconds) {
  const auto whole = std::llround(seconds);
  if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
  if (whole >= 60) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

std::atomic<bool> interrupt_seen{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only use lock-free");

void note_interrupt(int) { interrupt_seen.store(true, std::memory_order_relaxed); }

}  // namespace

Progress::Progress(std::string label, std::int64_t total)
    : label_(std::move(label)), total_(total), start_(Clock::now()), terminal_(isatty(2) == 1) {}

Progress::~Progress() {
  if (terminal_ && drawn_ != Clock::time_point{}) std::fputc('\n', stderr);
}

void Progress::update(std::int64_t done, const std::string& detail) {
  const auto now = Clock::now();
  const bool first = drawn_ == Clock::time_point{};
  const Clock::duration pause = terminal_ ? Clock::duration(kRedrawTerminal) : kRedrawPlain;
  if (!first && done < total_ && now - drawn_ < pause) return;
  drawn_ = now;

  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double share =
      total_ > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0)
                 : 0.0;
  std::string line = fmt::format("{} {}/{} ({:.0f} %)", label_, done, total_, 100 * share);
  if (done >= total_) {
    line += fmt::format(", {}", duration_text(elapsed));
  } else if (share > 0) {
    line += fmt::format(", {} left", duration_text(elapsed * (1 - share) / share));
  }
  if (!detail.empty()) line += fmt::format(", {}", detail);
  // On a terminal: back to the first column, and what is left of a longer line is erased.
  if (terminal_) {
    fmt::print(stderr, "\r{}\x1b[K", line);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
}

void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = note_interrupt;
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);  // a second one ends us at once
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return interrupt_seen.load(std::memory_order_relaxed); }

bool take_interrupt() {
  if (!interrupt_seen.exchange(false)) return false;
  install_interrupt_handler();  // which the signal took away
  return true;
}

}  // namespace lowbit
