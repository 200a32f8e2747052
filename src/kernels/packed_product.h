// Products with packed weights. Integer ones equal format's reference_product to the last bit, in
// every instruction set; float ones differ by the order of sums alone.
#pragma once

#include <span>

#include "kernels/isa.h"
#include "kernels/packed_weight.h"

namespace lowbit {

// y = x w^T on codes, over all threads. `isa` is supported and not `reference`. The sum over a
// group must fit 32 bits: any for groups up to 512 (format/reference_product.cc has the bounds).
void packed_product(Isa isa, const PackedActivations& x, const PackedWeight& weight,
                    std::span<float> y);  // [tokens, out]

// y = x w^T for float activations: dequantized in registers, never in memory as a whole.
void packed_product(Isa isa, std::span<const float> x,  // [tokens, in]
                    const PackedWeight& weight,
                    std::span<float> y);  // [tokens, out]

}  // namespace lowbit
