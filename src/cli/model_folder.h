// A checkpoint with what its config.json says: what most subcommands begin with.
#pragma once

#include <string>

#include "io/checkpoint.h"
#include "model/model_spec.h"

namespace lowbit {

struct ModelFolder {
  Checkpoint checkpoint;
  ModelSpec spec;
};

Result<ModelFolder> open_model_folder(const std::string& folder);

}  // namespace lowbit
