// What a planned run will take: bytes on disk, memory, time. The models are stated in estimate.cc.
#pragma once

#include "io/checkpoint.h"
#include "recipe/plan.h"

namespace lowbit {

// Bits that a file holds for a linear's weight, quantized or not: codes, scales, zero points,
// shape, factors of its input's transform, a low-rank pair.
std::uint64_t stored_bits(const LinearSpec& linear, const LinearScheme& scheme, DType float_type);

// Fills the estimates of a plan whose blocks and tables are final.
Status estimate(Plan& plan, const Checkpoint& checkpoint, const PlanOptions& options);

}  // namespace lowbit
