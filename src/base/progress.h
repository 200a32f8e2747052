// A progress line on standard error with the time left; plain lines when it is not a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lowbit {

class Progress {
 public:
  Progress(std::string label,
           std::int64_t total);  // total in any unit; draws nothing before update
  ~Progress();                   // ends the line
  void update(std::int64_t done, const std::string& detail = {});

 private:
  std::string label_;
  std::int64_t total_;
  std::chrono::steady_clock::time_point start_, drawn_;
  bool terminal_;
};

// Set by SIGINT and SIGTERM once install_interrupt_handler was called; long loops look at it
// between steps and return an Error of kind interrupted.
void install_interrupt_handler();
bool interrupted();
// Whether there was one, which is then forgotten: for what an interrupt ends a part of only.
bool take_interrupt();

}  // namespace lowbit
