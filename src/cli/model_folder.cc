#include "cli/model_folder.h"

#include <utility>

namespace lowbit {

Result<ModelFolder> open_model_folder(const std::string& folder) {
  Result<Checkpoint> checkpoint = Checkpoint::open(real_file_system(), folder);
  if (!checkpoint) return std::move(checkpoint).error();
  Result<ModelSpec> spec = read_model_spec(checkpoint->config());
  if (!spec) return within((Path(folder) / "config.json").string(), std::move(spec).error());
  return ModelFolder{std::move(*checkpoint), std::move(*spec)};
}

}  // namespace lowbit
