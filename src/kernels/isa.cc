#include "kernels/isa.h"

#include <algorithm>
#include <cstdlib>
#include <string>

namespace lowbit {

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::reference:
      return "reference";
    case Isa::portable:
      return "portable";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "";
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas = {Isa::reference, Isa::portable};
#if defined(__x86_64__)
  // Every processor with AVX2 converts half floats too (F16C), which clang 14 cannot ask for.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) isas.push_back(Isa::avx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vnni")) {
    isas.push_back(Isa::avx512);
  }
#endif
  return isas;
}

Result<Isa> chosen_isa() {
  const std::vector<Isa> isas = supported_isas();
  const char* wanted = std::getenv("LOWBIT_ISA");
  if (wanted == nullptr || *wanted == '\0') return isas.back();
  for (const Isa isa : {Isa::reference, Isa::portable, Isa::avx2, Isa::avx512}) {
    if (name_of(isa) != wanted) continue;
    if (std::find(isas.begin(), isas.end(), isa) != isas.end()) return isa;
    return environment_error("kernels/unsupported-isa",
                             "LOWBIT_ISA=" + std::string(wanted) +
                                 ": this processor does not have it; the fastest here is " +
                                 std::string(name_of(isas.back())));
  }
  return usage_error("kernels/unknown-isa", "LOWBIT_ISA: found '" + std::string(wanted) +
                                                "', expected reference, portable, avx2 or avx512");
}

}  // namespace lowbit
