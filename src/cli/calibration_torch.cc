#include "cli/calibration_part.h"
#include "methods/quantize.h"

namespace lowbit {

std::string_view calibration_part() { return "LibTorch"; }

Status calibration_available(const std::string& device) { return check_device(device); }

Result<QuantizeReport> run_quantize(const Checkpoint& checkpoint, const Plan& plan,
                                    const CalibrationWindows& windows,
                                    const QuantizeOptions& options) {
  return quantize(checkpoint, plan, windows, options);
}

Result<std::string> run_digest_of(const Checkpoint& checkpoint, const Plan& plan,
                                  const QuantizeOptions& options) {
  return quantize_digest(checkpoint, plan, options);
}

}  // namespace lowbit
