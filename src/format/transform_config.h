// quantization_config.transform_config: transforms of linears' inputs, in the shape of
// compressed-tensors (version 0.20), so that no reader skips them in silence.
//
// A size that is a power of two is theirs ("hadamard": Sylvester's matrix over sqrt(n), in blocks
// of head_dim). Others are "lowbit-hadamard", a type that they refuse by name, as they do
// "lowbit-kronecker": left and right are the sizes of two factors, and each entry of "apply" says
// in "stored_with" beside which linear's weight they stand (read_factors). Errors:
// packed/{bad-config, unsupported-transform}.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "format/scheme.h"
#include "format/target_pattern.h"
#include "io/json.h"

namespace lowbit {

Error unsupported_transform(std::string_view where, std::string_view message);

// The modules whose inputs are transformed at run time. Transforms of weights are skipped: stored
// weights have them. `json` may be null: no transforms.
Result<std::map<std::string, InputTransform>> read_transforms(const OrderedJson* json,
                                                              std::span<const Module> modules);

// Whether compressed-tensors has the same transform; true for none.
bool others_know(const InputTransform& transform);

struct TransformedLinears {
  InputTransform transform;
  std::vector<std::string> linears;
};
// Adds a linear to those of its transform; one without is not added.
void add_transform(const std::string& linear, const InputTransform& transform,
                   std::vector<TransformedLinears>& all);
OrderedJson transforms_json(const std::vector<TransformedLinears>& all);

}  // namespace lowbit
