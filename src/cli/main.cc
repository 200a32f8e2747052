// The program: finds the subcommand, runs it, and turns its error into a line on standard error and
// an exit status by kind (base/result.h).
#include <fmt/format.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "base/progress.h"
#include "cli/calibration_part.h"
#include "cli/command.h"
#include "cli/printable.h"
#include "model/model_spec.h"

namespace lowbit {
namespace {

constexpr const char* kExamples = R"(Examples:
  lowbit analyze models/tiny-llama
  lowbit plan models/tiny-llama --scheme W4A4
  lowbit quantize models/tiny-llama -o out/tiny-w4a4 --scheme W4A4 --calib self
  lowbit eval out/tiny-w4a4 --reference models/tiny-llama --text test.txt
  lowbit compare models/tiny-llama --recipes rtn-w4a4,frm-w4a4 --calib self --text test.txt
  lowbit run out/tiny-w4a4 -p 'The river'

Exit status: 0 done, 2 wrong usage, 3 bad input, 4 environment (memory, disk, permissions),
5 a bug of ours, 130 interrupted (the same command resumes).)";

std::vector<std::unique_ptr<Command>> make_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_tokenize_command());
  commands.push_back(make_inspect_command());
  commands.push_back(make_verify_command());
  commands.push_back(make_analyze_command());
  commands.push_back(make_plan_command());
  commands.push_back(make_quantize_command());
  commands.push_back(make_eval_command());
  commands.push_back(make_compare_command());
  commands.push_back(make_run_command());
  commands.push_back(make_chat_command());
  commands.push_back(make_bench_command());
  return commands;
}

std::string version() {
  std::string architectures;
  for (const std::string& architecture : supported_architectures()) {
    architectures += "\n  " + architecture;
  }
  return fmt::format("lowbit {}\ncalibration: {}\narchitectures:{}", LOWBIT_VERSION,
                     calibration_part(), architectures);
}

int report(const Error& error) {
  fmt::print(stderr, "lowbit: error: {}\n", printable(error.message));
  return static_cast<int>(error.kind);
}

// Standard output may be a full disk; a table that never arrived is no success.
Status flush_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return {};
  return environment_error("cli/output",
                           fmt::format("standard output: cannot write: {}", std::strerror(errno)));
}

// The message of a wrong command line, and where to read more.
Error parse_failure(const CLI::App& app, const CLI::ParseError& error, const std::string& first) {
  const auto chosen = app.get_subcommands();
  const std::string command = chosen.empty() ? "lowbit" : "lowbit " + chosen.front()->get_name();
  const bool unknown = chosen.empty() && !first.empty() && !first.starts_with("-");
  const std::string problem =
      unknown ? fmt::format("unknown subcommand '{}'", first) : std::string(error.what());
  return usage_error("cli/usage", fmt::format("{}; see '{} --help'", problem, command));
}

int run(int argc, char** argv) {
  const std::vector<std::unique_ptr<Command>> commands = make_commands();
  CLI::App app("Quantizes language models to low bit widths, and measures the result.", "lowbit");
  app.footer(kExamples);
  app.set_version_flag("--version", version());
  app.require_subcommand(1);
  std::vector<std::pair<CLI::App*, Command*>> declared;
  for (const auto& command : commands) {
    CLI::App* subcommand = app.add_subcommand(command->name(), command->purpose());
    command->declare(*subcommand);
    declared.emplace_back(subcommand, command.get());
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked_for_help) {
    app.exit(asked_for_help);
    const Status flushed = flush_output();
    return flushed ? 0 : report(flushed.error());
  } catch (const CLI::ParseError& error) {
    return report(parse_failure(app, error, argc > 1 ? argv[1] : ""));
  }
  for (const auto& [subcommand, command] : declared) {
    if (!subcommand->parsed()) continue;
    Status done = command->run();
    if (done) done = flush_output();
    if (!done) return report(done.error());
  }
  return 0;
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  using lowbit::report;
#if defined(__GLIBC__)
  // Buffers of a step are of the same sizes as those of the last: to give them back to the system
  // and fault them in again costs more than many a product.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
  lowbit::install_interrupt_handler();
  try {
    return lowbit::run(argc, argv);
  } catch (const std::bad_alloc&) {
    return report(lowbit::environment_error(
        "cli/memory", "out of memory; take fewer or shorter windows, or a larger machine"));
  } catch (const std::exception& error) {
    return report(lowbit::internal_error("cli/exception", error.what()));
  }
}
