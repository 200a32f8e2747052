// A plan and calibration windows in, a packed checkpoint out: the recipe's passes on the block
// pipeline.
#pragma once

#include "calib/quantize.h"

namespace lowbit {

// Whether this LibTorch and this machine have the device: "quantize/device", "quantize/no-cuda".
Status check_device(const std::string& name);

// Windows may be empty when the recipe needs no calibration.
Result<QuantizeReport> quantize(const Checkpoint& checkpoint, const Plan& plan,
                                const CalibrationWindows& windows, const QuantizeOptions& options);

// The digest that the output of this run carries once it is complete (LowbitInfo::run).
Result<std::string> quantize_digest(const Checkpoint& checkpoint, const Plan& plan,
                                    const QuantizeOptions& options);

}  // namespace lowbit
