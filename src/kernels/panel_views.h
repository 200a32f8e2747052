// Packed weights and activations as the loops of panel_kernels.h see them.
#pragma once

#include "kernels/packed_weight.h"
#include "kernels/panel_kernels.h"

namespace lowbit {

inline PanelWeight view(const PackedWeight& w) {
  return {.out = w.out,
          .in = w.in,
          .group_size = w.group_size,
          .groups = w.groups(),
          .bits = w.bits,
          .scale_kind = w.scale_type == DType::f16    ? ScaleKind::f16
                        : w.scale_type == DType::bf16 ? ScaleKind::bf16
                                                      : ScaleKind::f32,
          .codes = w.codes.data(),
          .scales = reinterpret_cast<const std::uint8_t*>(w.scales.data()),
          .zeros = w.zeros.data()};
}

inline PanelCodes view(const PackedActivations& x) {
  return {.tokens = x.tokens,
          .codes = x.codes.data(),
          .scales = x.scales.data(),
          .sums = x.sums.data(),
          .offsets = x.offsets.data(),
          .any_offset = x.any_offset,
          .largest = x.largest};
}

}  // namespace lowbit
