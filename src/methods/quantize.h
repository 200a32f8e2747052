// A plan and calibration windows in, a packed checkpoint out: the recipe's passes on the block
// pipeline.
#pragma once

#include "calib/quantize.h"

namespace lowbit {

// Windows may be empty when the recipe needs no calibration.
Result<QuantizeReport> quantize(const Checkpoint& checkpoint, const Plan& plan,
                                const CalibrationWindows& windows, const QuantizeOptions& options);

}  // namespace lowbit
