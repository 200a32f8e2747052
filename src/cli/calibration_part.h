// The part of the program that needs LibTorch, behind one door: CMake links calibration_torch.cc or
// calibration_absent.cc.
#pragma once

#include <string>
#include <string_view>

#include "calib/quantize.h"

namespace lowbit {

std::string_view calibration_part();  // "LibTorch" or what stands in its place, for --version

// Whether it can run on `device` ("cpu", "cuda:1"); asked before any work. "cli/no-calibration"
// (environment) in a build without it, else the errors of calib/tensor.h.
Status calibration_available(const std::string& device);

Result<QuantizeReport> run_quantize(const Checkpoint& checkpoint, const Plan& plan,
                                    const CalibrationWindows& windows,
                                    const QuantizeOptions& options);

// The digest that the output of this run carries once it is complete (LowbitInfo::run).
Result<std::string> run_digest_of(const Checkpoint& checkpoint, const Plan& plan,
                                  const QuantizeOptions& options);

}  // namespace lowbit
