// Shapes of well-known models, for measuring speed at their size with generated weights.
#pragma once

#include <string>
#include <vector>

#include "model/model_spec.h"

namespace lowbit {

std::vector<std::string> model_shapes();                 // their names
Result<ModelSpec> shape_named(const std::string& name);  // "cli/unknown-shape" lists them

}  // namespace lowbit
