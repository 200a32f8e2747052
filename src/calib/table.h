// The tables at the ends of a model, embedding and head, rounded to nearest. No pass learns them:
// an embedding has no inputs to learn from, and a head would need the whole model's.
//
// A table of 128256 x 4096 is never in float32 as a whole: it goes through in runs of rows, twice,
// for ranges and for codes, because the scales of all rows decide the type that stores them.
#pragma once

#include <functional>

#include "calib/fake_quant.h"
#include "format/packed_checkpoint.h"
#include "io/checkpoint.h"
#include "recipe/plan.h"

namespace lowbit {

// Scales and zero points for some rows of a table, [rows, in] on the CPU.
using TableRange = std::function<GroupParameters(const Tensor& rows, const WeightScheme& scheme)>;

// `on_run(fraction)` is called after every run of rows; an error from it ends the work.
Result<PackedTensors> pack_table(const Checkpoint& source, const PlannedTable& table,
                                 const TableRange& range,
                                 const std::function<Status(double fraction)>& on_run);

}  // namespace lowbit
