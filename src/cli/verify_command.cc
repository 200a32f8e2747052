// lowbit verify: reads a model folder back as a whole; damage is exit status 3.
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output.h"
#include "format/verify.h"

namespace lowbit {
namespace {

class VerifyCommand : public Command {
 public:
  std::string name() const override { return "verify"; }
  std::string purpose() const override {
    return "Read every tensor of a model back, check sums and decode";
  }

  void declare(CLI::App& app) override {
    app.add_option("MODEL", folder_, "Model folder, packed or float")->required();
    json_.declare(app);
    app.footer("Example:\n  lowbit verify out/tiny-w4a4");
  }

  Status run() override {
    const Result<VerifyReport> report = verify(real_file_system(), folder_);
    if (!report) return report.error();
    if (!json_.replaces_table()) fmt::print("{}", verify_text(*report));
    const Status written = json_.write(verify_json(*report));
    if (!written || report->ok()) return written;
    const auto found =
        static_cast<std::int64_t>(report->problems.size()) + report->problems_left_out;
    return bad_input(report->problems.front().code,
                     fmt::format("{}: {} problem{}; the first: {}", folder_, found,
                                 found == 1 ? "" : "s", report->problems.front().message));
  }

 private:
  std::string folder_;
  JsonOutput json_;
};

}  // namespace

std::unique_ptr<Command> make_verify_command() { return std::make_unique<VerifyCommand>(); }

}  // namespace lowbit
