// Products with packed weights. Integer ones equal format's reference_product to the last bit, in
// every instruction set; float ones are as near as sums in float32 are (split_activations in
// packed_weight.h has the bound).
#pragma once

#include <span>

#include "kernels/isa.h"
#include "kernels/packed_weight.h"

namespace lowbit {

struct Product {
  const PackedWeight* weight;
  std::span<float> y;  // [tokens, out]
};

// y = x w^T on codes for weights that share their input (q, k and v; gate and up): one loop over
// all threads. `isa` is supported and not `reference`. The sum over a group must fit 32 bits: any
// for groups up to 512 (format/reference_product.cc has the bounds).
void packed_product(Isa isa, const PackedActivations& x, std::span<const Product> products);

// The same for float activations; the weight is never decoded in memory as a whole.
void packed_product(Isa isa, std::span<const float> x,  // [tokens, in]
                    std::span<const Product> products);

inline void packed_product(Isa isa, const PackedActivations& x, const PackedWeight& weight,
                           std::span<float> y) {
  const Product one{&weight, y};
  packed_product(isa, x, std::span(&one, 1));
}
inline void packed_product(Isa isa, std::span<const float> x, const PackedWeight& weight,
                           std::span<float> y) {
  const Product one{&weight, y};
  packed_product(isa, x, std::span(&one, 1));
}

}  // namespace lowbit
