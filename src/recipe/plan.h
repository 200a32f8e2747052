// The plan: a recipe applied to a model, before any work. What each linear becomes, and what the
// run will take. `quantize` runs on a plan and on nothing else.
//
// Errors: model/already-quantized, plan/{group-size, ignore-unknown, tied-head, float-head,
// learn-conflict, value-format, asymmetric-static, rank, memory, disk, window-too-long,
// output-not-empty}.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/packed_checkpoint.h"
#include "io/checkpoint.h"
#include "model/model_spec.h"
#include "recipe/recipe.h"
#include "recipe/sensitivity.h"

namespace lowbit {

struct PlannedLinear {
  LinearSpec linear;
  LinearScheme scheme;  // group sizes are final: each divides `in`
};

struct PlannedBlock {
  Sensitivity sensitivity = Sensitivity::moderate;
  std::vector<PlannedLinear> linears;  // in the order of BlockSpec::linears()
};

// The embedding or the head: a matrix [vocabulary, hidden], by which the size of a small model is
// decided.
struct PlannedTable {
  LinearSpec linear;  // named for its module
  LinearScheme scheme;
  std::uint64_t stored_bytes = 0;  // in the output
};

struct Plan {
  Recipe recipe;
  ModelSpec model;
  std::vector<PlannedBlock> blocks;
  std::vector<PlannedTable> tables;  // the embedding, then the head unless it is tied

  // Estimates. Bits per weight: what the output stores for the block linears, codes, scales, zero
  // points, shapes and ignored linears together.
  double bits_per_weight = 0;
  std::uint64_t output_bytes = 0;
  std::uint64_t peak_memory_bytes = 0;
  std::uint64_t scratch_disk_bytes = 0;  // streams on disk, the shard being written
  double seconds = 0;
  std::vector<std::string> notices;  // what was changed or is unusual, each with its layer

  QuantizationMap quantization() const;
};

struct PlanOptions {
  bool streams_on_disk = false;
};

// Reads weights once where the recipe needs them (kurtosis); otherwise only headers.
Result<Plan> make_plan(const Checkpoint& checkpoint, const Recipe& recipe, PlanOptions options);

// What cannot finish here is refused by name: memory, disk at `output`, a window longer than the
// model's.
Status check_feasible(const Plan& plan, FileSystem& files, const Path& output);

// "plan/output-not-empty" for a folder that holds the result of a run with other inputs.
Error holds_other_result(const Path& output);

}  // namespace lowbit
