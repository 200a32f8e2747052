#include "kernels/packed_product.h"

#include <algorithm>
#include <map>
#include <vector>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/panel_product.h"
#include "kernels/panel_views.h"

namespace lowbit {
namespace {

constexpr std::int64_t kDecodedInputs = 256;  // of float products; whole chunks

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

constexpr std::int64_t kPiecesAThread = 8;  // of few tokens, for which a piece prepares nothing

// body(product, begin, end) on disjoint ranges that cover the panels of all products. One loop, so
// that the threads are woken once and share narrow weights with wide ones.
template <typename Body>
void for_panels(std::span<const Product> products, std::int64_t tokens, const Body& body) {
  std::int64_t panels = 0;
  for (const Product& product : products) panels += product.weight->panels();
  const auto of_all = [&](std::int64_t begin, std::int64_t end) {
    std::int64_t first = 0;  // panel of this product
    for (const Product& product : products) {
      const std::int64_t count = product.weight->panels();
      const std::int64_t from = std::clamp<std::int64_t>(begin - first, 0, count);
      const std::int64_t to = std::clamp<std::int64_t>(end - first, 0, count);
      if (from < to) body(product, from, to);
      first += count;
    }
  };
  parallel_for(panels, 1, of_all, tokens <= kDirectTokens ? kPiecesAThread : 1);
}

// Many tokens: some rows and inputs at a time are decoded, and multiplied.
void decoded_product(const PanelKernels& kernels, std::span<const float> x, const PanelWeight& w,
                     std::int64_t begin, std::int64_t end, float* y) {
  const std::int64_t rows_at_once = panel_product_columns();
  const std::int64_t panels_at_once = rows_at_once / kPanelRows;
  const std::int64_t tokens = std::ssize(x) / w.in;
  AlignedVector<float> decoded(static_cast<std::size_t>(kDecodedInputs * rows_at_once));
  std::vector<float> sums(static_cast<std::size_t>(tokens * rows_at_once));
  for (std::int64_t panel = begin; panel < end; panel += panels_at_once) {
    const std::int64_t panels = std::min(panels_at_once, end - panel);
    for (std::int64_t i = 0; i < w.in; i += kDecodedInputs) {
      const std::int64_t inputs = std::min(kDecodedInputs, w.in - i);
      for (std::int64_t p = 0; p < panels; ++p) {
        kernels.dequantize(w, panel + p, i, i + inputs, rows_at_once,
                           decoded.data() + p * kPanelRows);
      }
      panel_product({.rows = tokens,
                     .inner = inputs,
                     .columns = panels * kPanelRows,
                     .a = x.data() + i,
                     .a_row = w.in,
                     .b = decoded.data(),
                     .b_row = rows_at_once,
                     .c = sums.data(),
                     .c_row = rows_at_once,
                     .add = i > 0});
    }
    const std::int64_t row = panel * kPanelRows;
    const std::int64_t rows = std::min(panels * kPanelRows, w.out - row);
    for (std::int64_t t = 0; t < tokens; ++t) {
      std::copy_n(sums.data() + t * rows_at_once, rows, y + t * w.out + row);
    }
  }
}

void integer_product(const PanelKernels& kernels, const PackedActivations& x,
                     const PackedWeight& weight, std::int64_t begin, std::int64_t end, float* y) {
  const PanelWeight w = view(weight);
  std::uint8_t* const scratch = thread_scratch(kernels.scratch_bytes(w, x.tokens));
  kernels.integer(w, view(x), begin, end, scratch, y);
}

// Few tokens of floats, as integers: of four instructions that a decoded weight costs in floats,
// three go, and one product of bytes does four inputs at once. `parts`: [3 * tokens, out].
void split_product(const PanelKernels& kernels, const PackedActivations& x,
                   const PackedWeight& weight, std::int64_t begin, std::int64_t end, float* parts,
                   float* y) {
  integer_product(kernels, x, weight, begin, end, parts);
  const std::int64_t out = weight.out;
  for (std::int64_t t = 0; t < x.tokens / 3; ++t) {
    const float* part = parts + 3 * t * out;
    for (std::int64_t o = begin * kPanelRows; o < std::min(end * kPanelRows, out); ++o) {
      y[t * out + o] = part[o] + part[out + o] + part[2 * out + o];
    }
  }
}

// Sums of a longer group might leave 32 bits: 255 * 128 * 65536 does not.
constexpr std::int64_t kLongestSplitGroup = 65536;

}  // namespace

void packed_product(Isa isa, const PackedActivations& x, std::span<const Product> products) {
  for (const Product& product : products) {
    CHECK(product.weight->bits <= 8 && product.weight->in == x.in);
    CHECK(product.weight->group_size == x.group_size);
    CHECK(std::ssize(product.y) == x.tokens * product.weight->out);
  }
  const PanelKernels kernels = kernels_of(isa);
  for_panels(products, x.tokens, [&](const Product& product, std::int64_t begin, std::int64_t end) {
    integer_product(kernels, x, *product.weight, begin, end, product.y.data());
  });
}

void packed_product(Isa isa, std::span<const float> x, std::span<const Product> products) {
  if (products.empty()) return;
  const std::int64_t in = products.front().weight->in;
  const std::int64_t tokens = std::ssize(x) / in;
  CHECK(tokens * in == std::ssize(x));
  const PanelKernels kernels = kernels_of(isa);
  const auto splits = [&](const PackedWeight& weight) {
    return tokens <= kDirectTokens && weight.bits <= 8 && weight.group_size <= kLongestSplitGroup;
  };
  std::map<std::int64_t, PackedActivations> split;  // by size of group
  std::map<const Product*, std::vector<float>> parts;
  for (const Product& product : products) {
    const PackedWeight& weight = *product.weight;
    CHECK(weight.in == in && std::ssize(product.y) == tokens * weight.out);
    if (!splits(weight)) continue;
    parts[&product].resize(3 * product.y.size());
    if (!split.contains(weight.group_size)) {
      split[weight.group_size] = split_activations(x, in, weight.group_size);
    }
  }
  for_panels(products, tokens, [&](const Product& product, std::int64_t begin, std::int64_t end) {
    const PackedWeight& weight = *product.weight;
    float* const y = product.y.data();
    if (splits(weight)) {
      split_product(kernels, split.at(weight.group_size), weight, begin, end,
                    parts.at(&product).data(), y);
    } else if (tokens <= kDirectTokens && weight.bits == 16) {
      kernels.halves(view(weight), {.tokens = tokens, .x = x.data()}, begin, end, y);
    } else {
      decoded_product(kernels, x, view(weight), begin, end, y);
    }
  });
}

}  // namespace lowbit
