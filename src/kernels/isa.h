// The instruction sets that the packed products are compiled for, and the one in use.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"

namespace lowbit {

// avx512: with VNNI and F16 conversions. amx: that, and tiles of bytes for products of many tokens.
enum class Isa { reference, portable, avx2, avx512, amx };

std::string_view name_of(Isa isa);
std::vector<Isa> supported_isas();  // of this processor, the slowest first

// The fastest supported one, or what the environment variable LOWBIT_ISA names ("reference",
// "portable", "avx2", "avx512", "amx"). Errors: "kernels/unknown-isa", "kernels/unsupported-isa".
Result<Isa> chosen_isa();

}  // namespace lowbit
