#include "kernels/packed_product.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/panel_product.h"
#include "kernels/panel_views.h"

namespace lowbit {
namespace {

constexpr std::int64_t kPanelsAtOnce = 4;     // of float products: 64 rows
constexpr std::int64_t kDecodedInputs = 256;  // about, of float products: 64 KiB decoded

PanelKernels kernels_of(Isa isa) {
  CHECK(isa != Isa::reference);
  if (isa == Isa::amx) return panel_kernels_amx();
  if (isa == Isa::avx512) return panel_kernels_avx512();
  if (isa == Isa::avx2) return panel_kernels_avx2();
  return panel_kernels_portable();
}

// Kept from call to call: fresh memory would be faulted in page by page each time.
std::uint8_t* thread_scratch(std::int64_t bytes) {
  thread_local AlignedVector<std::uint8_t> scratch;
  if (std::ssize(scratch) < bytes) scratch.resize(static_cast<std::size_t>(bytes));
  return scratch.data();
}

std::vector<float> group_sums(std::span<const float> x, std::int64_t group_size) {
  std::vector<float> sums;
  for (std::size_t at = 0; at < x.size(); at += static_cast<std::size_t>(group_size)) {
    double sum = 0;
    for (const float value : x.subspan(at, static_cast<std::size_t>(group_size))) sum += value;
    sums.push_back(static_cast<float>(sum));
  }
  return sums;
}

// Many tokens: 64 rows at a time are decoded, some groups at a time, and multiplied.
void decoded_product(const PanelKernels& kernels, std::span<const float> x, const PanelWeight& w,
                     std::span<float> y) {
  constexpr std::int64_t kRows = kPanelsAtOnce * kPanelRows;
  const std::int64_t tokens = std::ssize(x) / w.in;
  const std::int64_t blocks = (w.out + kRows - 1) / kRows;
  const std::int64_t groups_at_once = std::max<std::int64_t>(1, kDecodedInputs / w.group_size);
  parallel_for(blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    AlignedVector<float> decoded(static_cast<std::size_t>(groups_at_once * w.group_size * kRows));
    std::vector<float> sums(static_cast<std::size_t>(tokens * kRows));
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t rows = std::min(kRows, w.out - block * kRows);
      for (std::int64_t g = 0; g < w.groups; g += groups_at_once) {
        const std::int64_t groups = std::min(groups_at_once, w.groups - g);
        for (std::int64_t p = 0; p * kPanelRows < rows; ++p) {
          for (std::int64_t i = 0; i < groups; ++i) {
            kernels.dequantize(w, block * kPanelsAtOnce + p, g + i, kRows,
                               decoded.data() + i * w.group_size * kRows + p * kPanelRows);
          }
        }
        panel_product({.rows = tokens,
                       .inner = groups * w.group_size,
                       .columns = kRows,
                       .a = x.data() + g * w.group_size,
                       .a_row = w.in,
                       .b = decoded.data(),
                       .b_row = kRows,
                       .c = sums.data(),
                       .c_row = kRows,
                       .add = g > 0});
      }
      for (std::int64_t t = 0; t < tokens; ++t) {
        std::copy_n(sums.data() + t * kRows, rows, y.data() + t * w.out + block * kRows);
      }
    }
  });
}

}  // namespace

void packed_product(Isa isa, const PackedActivations& x, const PackedWeight& weight,
                    std::span<float> y) {
  CHECK(x.in == weight.in && x.group_size == weight.group_size);
  CHECK(std::ssize(y) == x.tokens * weight.out);
  const PanelKernels kernels = kernels_of(isa);
  const PanelWeight w = view(weight);
  const PanelCodes codes = view(x);
  parallel_for(weight.panels(), 1, [&](std::int64_t begin, std::int64_t end) {
    std::uint8_t* const scratch = thread_scratch(kernels.scratch_bytes(w, x.tokens));
    kernels.integer(w, codes, begin, end, scratch, y.data());
  });
}

void packed_product(Isa isa, std::span<const float> x, const PackedWeight& weight,
                    std::span<float> y) {
  const std::int64_t tokens = std::ssize(x) / weight.in;
  CHECK(tokens * weight.in == std::ssize(x) && std::ssize(y) == tokens * weight.out);
  const PanelKernels kernels = kernels_of(isa);
  const PanelWeight w = view(weight);
  if (tokens > kDirectTokens) return decoded_product(kernels, x, w, y);
  const std::vector<float> sums = group_sums(x, weight.group_size);
  const PanelFloats floats{.tokens = tokens, .x = x.data(), .sums = sums.data()};
  parallel_for(weight.panels(), 1, [&](std::int64_t begin, std::int64_t end) {
    kernels.floats(w, floats, begin, end, y.data());
  });
}

}  // namespace lowbit
