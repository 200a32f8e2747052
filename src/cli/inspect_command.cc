// lowbit inspect: what is in a file or a model folder.
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output.h"
#include "format/inspect.h"

namespace lowbit {
namespace {

class InspectCommand : public Command {
 public:
  std::string name() const override { return "inspect"; }
  std::string purpose() const override { return "List the tensors of a file or a model folder"; }

  void declare(CLI::App& app) override {
    app.add_option("PATH", path_, "Model folder or .safetensors file")->required();
    json_.declare(app);
    app.footer("Example:\n  lowbit inspect out/tiny-w4a4");
  }

  Status run() override {
    const Result<Inspection> inspection = inspect(real_file_system(), path_);
    if (!inspection) return inspection.error();
    if (!json_.replaces_table()) fmt::print("{}", inspection_text(*inspection));
    return json_.write(inspection_json(*inspection));
  }

 private:
  std::string path_;
  JsonOutput json_;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command() { return std::make_unique<InspectCommand>(); }

}  // namespace lowbit
