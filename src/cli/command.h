// A subcommand: declares its options, then runs. One file each; the list is in main.cc.
#pragma once

#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace lowbit {

class Command {
 public:
  virtual ~Command() = default;
  virtual std::string name() const = 0;
  virtual std::string purpose() const = 0;  // one line, for the list in --help
  virtual void declare(CLI::App& app) = 0;  // options write into the command's members
  virtual Status run() = 0;                 // after parsing
};

std::unique_ptr<Command> make_tokenize_command();
std::unique_ptr<Command> make_inspect_command();
std::unique_ptr<Command> make_verify_command();
std::unique_ptr<Command> make_analyze_command();
std::unique_ptr<Command> make_plan_command();
std::unique_ptr<Command> make_quantize_command();
std::unique_ptr<Command> make_eval_command();
std::unique_ptr<Command> make_compare_command();
std::unique_ptr<Command> make_run_command();
std::unique_ptr<Command> make_chat_command();
std::unique_ptr<Command> make_bench_command();

}  // namespace lowbit
