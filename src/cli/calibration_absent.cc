#include "cli/calibration_part.h"

namespace lowbit {

std::string_view calibration_part() { return "none (built without LibTorch)"; }

Status calibration_available(const std::string&) {
  return environment_error(
      "cli/no-calibration",
      "this build of lowbit has no LibTorch and cannot quantize; build it with "
      "-DLOWBIT_TORCH=ON");
}

Result<QuantizeReport> run_quantize(const Checkpoint&, const Plan&, const CalibrationWindows&,
                                    const QuantizeOptions&) {
  return calibration_available({}).error();
}

Result<std::string> run_digest_of(const Checkpoint&, const Plan&, const QuantizeOptions&) {
  return calibration_available({}).error();
}

}  // namespace lowbit
