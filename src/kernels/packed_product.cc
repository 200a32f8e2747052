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

std::vector<float> group_sums(std::span<const float> x, std::int64_t group_size) {
  std::vector<float> sums;
  for (std::size_t at = 0; at < x.size(); at += static_cast<std::size_t>(group_size)) {
    double sum = 0;
    for (const float value : x.subspan(at, static_cast<std::size_t>(group_size))) sum += value;
    sums.push_back(static_cast<float>(sum));
  }
  return sums;
}

// body(product, begin, end) on disjoint ranges that cover the panels of all products. One loop, so
// that the threads are woken once and share narrow weights with wide ones.
template <typename Body>
void for_panels(std::span<const Product> products, const Body& body) {
  std::int64_t panels = 0;
  for (const Product& product : products) panels += product.weight->panels();
  parallel_for(panels, 1, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t first = 0;  // panel of this product
    for (const Product& product : products) {
      const std::int64_t count = product.weight->panels();
      const std::int64_t from = std::clamp<std::int64_t>(begin - first, 0, count);
      const std::int64_t to = std::clamp<std::int64_t>(end - first, 0, count);
      if (from < to) body(product, from, to);
      first += count;
    }
  });
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

}  // namespace

void packed_product(Isa isa, const PackedActivations& x, std::span<const Product> products) {
  for (const Product& product : products) {
    CHECK(product.weight->bits <= 8 && product.weight->in == x.in);
    CHECK(product.weight->group_size == x.group_size);
    CHECK(std::ssize(product.y) == x.tokens * product.weight->out);
  }
  const PanelKernels kernels = kernels_of(isa);
  const PanelCodes codes = view(x);
  for_panels(products, [&](const Product& product, std::int64_t begin, std::int64_t end) {
    const PanelWeight w = view(*product.weight);
    std::uint8_t* const scratch = thread_scratch(kernels.scratch_bytes(w, x.tokens));
    kernels.integer(w, codes, begin, end, scratch, product.y.data());
  });
}

void packed_product(Isa isa, std::span<const float> x, std::span<const Product> products) {
  if (products.empty()) return;
  const std::int64_t in = products.front().weight->in;
  const std::int64_t tokens = std::ssize(x) / in;
  CHECK(tokens * in == std::ssize(x));
  for (const Product& product : products) {
    CHECK(product.weight->in == in && std::ssize(product.y) == tokens * product.weight->out);
  }
  const PanelKernels kernels = kernels_of(isa);
  if (tokens > kDirectTokens) {
    return for_panels(products, [&](const Product& product, std::int64_t begin, std::int64_t end) {
      decoded_product(kernels, x, view(*product.weight), begin, end, product.y.data());
    });
  }
  std::map<std::int64_t, std::vector<float>> sums;  // by size of group
  for (const Product& product : products) {
    const std::int64_t group_size = product.weight->group_size;
    if (!sums.contains(group_size)) sums[group_size] = group_sums(x, group_size);
  }
  for_panels(products, [&](const Product& product, std::int64_t begin, std::int64_t end) {
    const PanelFloats floats{
        .tokens = tokens, .x = x.data(), .sums = sums.at(product.weight->group_size).data()};
    kernels.floats(view(*product.weight), floats, begin, end, product.y.data());
  });
}

}  // namespace lowbit
