#include "kernels/isa.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lowbit {
namespace {

// Tiles are 8 KiB more to save at every switch of threads: the kernel wants to be asked for them,
// once a process. By cpuid, as clang 14 does not know their names.
[[maybe_unused]] bool has_tiles_of_bytes() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr unsigned kTile = 1U << 24;
  constexpr unsigned kInt8 = 1U << 25;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, since Linux 5.16
  constexpr long kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kTile) == 0 || (d & kInt8) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

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
    case Isa::amx:
      return "amx";
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
    if (has_tiles_of_bytes()) isas.push_back(Isa::amx);
  }
#endif
  return isas;
}

Result<Isa> chosen_isa() {
  const std::vector<Isa> isas = supported_isas();
  const char* wanted = std::getenv("LOWBIT_ISA");
  if (wanted == nullptr || *wanted == '\0') return isas.back();
  for (const Isa isa : {Isa::reference, Isa::portable, Isa::avx2, Isa::avx512, Isa::amx}) {
    if (name_of(isa) != wanted) continue;
    if (std::find(isas.begin(), isas.end(), isa) != isas.end()) return isa;
    return environment_error("kernels/unsupported-isa",
                             "LOWBIT_ISA=" + std::string(wanted) +
                                 ": this processor does not have it; the fastest here is " +
                                 std::string(name_of(isas.back())));
  }
  return usage_error("kernels/unknown-isa",
                     "LOWBIT_ISA: found '" + std::string(wanted) +
                         "', expected reference, portable, avx2, avx512 or amx");
}

}  // namespace lowbit
