// Speed of packed products on the linears of LLaMA-3-8B's blocks, with generated weights: one token
// (bound by memory) and 512 tokens (bound by arithmetic). Beside them, in the same run, the two
// roofs (what the memory gives to reads, what the instruction set multiplies in registers) and the
// float32 product of the same shapes by the BLAS.
//
// Usage: bench_packed_product [--threads N] [--isa NAME]... [--scheme W4A8]...
// By default all threads, instruction sets and schemes; W16A16 is a bf16 weight, W32A32 the BLAS.
#include "kernels/packed_product.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/half_float.h"
#include "base/threads.h"
#include "kernels/roof.h"
#include "runtime/blas.h"

namespace lowbit {
namespace {

constexpr int kRepeats = 7;
constexpr std::int64_t kPrompt = 512;
constexpr std::int64_t kGroup = 128;

// Linears that share their input: q, k and v; the output; gate and up; down.
struct Shared {
  std::int64_t in;
  std::vector<std::int64_t> out;
};
const std::array<Shared, 4> kBlock = {
    {{4096, {4096, 1024, 1024}}, {4096, {4096}}, {4096, {14336, 14336}}, {14336, {4096}}}};

struct Scheme {
  int bits, activation_bits;
};

struct Seconds {
  double least, median, most;
};

Seconds time_of(const std::function<void()>& run) {
  std::vector<double> times;
  for (int i = 0; i <= kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    if (i > 0) times.push_back(passed.count());  // the first warms up
  }
  std::sort(times.begin(), times.end());
  return {times.front(), times[kRepeats / 2], times.back()};
}

double weights_of_a_block() {
  double weights = 0;
  for (const Shared& shared : kBlock) {
    for (const std::int64_t out : shared.out) weights += static_cast<double>(out * shared.in);
  }
  return weights;
}

std::vector<float> some_floats(std::int64_t count) {
  std::vector<float> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 31) / 16.0F - 1.0F;
  return x;
}

#if defined(__x86_64__)
// As assembly, so that no compiler sees that the sums are not used. Ten sums hide the latency.

// Pairs of products in 16 bits, and their sums: with room for a few of codes below 16.
__attribute__((target("avx2"))) void run_avx2(std::int64_t steps) {
  __m256i sums[10] = {};
  const __m256i codes = _mm256_set1_epi8(1);
  for (std::int64_t i = 0; i < steps; ++i) {
    for (__m256i& sum : sums) {
      __m256i pairs;
      asm volatile("vpmaddubsw %1, %1, %0" : "=x"(pairs) : "x"(codes));
      asm volatile("vpaddw %1, %0, %0" : "+x"(sum) : "x"(pairs));
    }
  }
}

__attribute__((target("avx512f,avx512vnni"))) void run_avx512(std::int64_t steps) {
  __m512i sums[10] = {};
  const __m512i codes = _mm512_set1_epi8(1);
  for (std::int64_t i = 0; i < steps; ++i) {
    for (__m512i& sum : sums) asm volatile("vpdpbusd %1, %1, %0" : "+v"(sum) : "v"(codes));
  }
}

// Four sums of two times two tiles, none of which is loaded or stored.
__attribute__((target("amx-tile,amx-int8"))) void run_amx(std::int64_t steps) {
  struct Config {
    std::uint8_t palette = 1, rest[15] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  const Config config;
  asm volatile("ldtilecfg %0" : : "m"(config));
  for (std::int64_t i = 0; i < steps; ++i) {
    asm volatile(
        "tdpbssd %tmm6, %tmm4, %tmm0\n"
        "tdpbssd %tmm7, %tmm4, %tmm1\n"
        "tdpbssd %tmm6, %tmm5, %tmm2\n"
        "tdpbssd %tmm7, %tmm5, %tmm3\n");
  }
  asm volatile("tilerelease");
}

struct Peak {
  void (*run)(std::int64_t steps);
  double operations;  // of a step, two for a multiply-add
};

Peak peak_of(Isa isa) {
  if (isa == Isa::amx) return {run_amx, 2.0 * 4 * 16 * 16 * 64};
  if (isa == Isa::avx512) return {run_avx512, 2.0 * 10 * 64};
  return {run_avx2, 2.0 * 10 * 32};
}

// Operations a second of all threads, from registers alone.
double integer_peak(Isa isa) {
  constexpr std::int64_t kSteps = 1 << 20;
  const Peak peak = peak_of(isa);
  const Seconds seconds = time_of([&] {
    parallel_for(thread_count(), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) peak.run(kSteps);
    });
  });
  return peak.operations * static_cast<double>(kSteps) * thread_count() / seconds.least;
}
#else
double integer_peak(Isa) { return 0; }  // no loop for it
#endif

PackedWeight some_weight(std::int64_t out, std::int64_t in, int bits) {
  if (bits <= 8) return random_packed_weight(out, in, {.bits = bits, .group_size = kGroup}, 7);
  std::vector<std::uint16_t> values(static_cast<std::size_t>(out * in));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = float_to_bf16(static_cast<float>(i % 61) / 64.0F - 0.5F);
  }
  return arrange(std::as_bytes(std::span(values)), out, in, DType::bf16);
}

struct Blocks {
  std::vector<PackedWeight> weights;  // of `count` blocks, far larger than any cache
  int count = 0;
  double bytes = 0;  // of one
};

Blocks make_blocks(int bits) {
  Blocks blocks{.weights = {}, .count = 16 / bits, .bytes = 0};
  for (int i = 0; i < blocks.count; ++i) {
    for (const Shared& shared : kBlock) {
      for (const std::int64_t out : shared.out) {
        blocks.weights.push_back(some_weight(out, shared.in, bits));
        blocks.bytes += static_cast<double>(blocks.weights.back().bytes()) / blocks.count;
      }
    }
  }
  return blocks;
}

// `count` blocks. Activations are quantized inside, as they are in use.
void run_blocks(Isa isa, const Scheme& scheme, const Blocks& blocks, int count,
                std::span<const float> x, std::int64_t tokens, std::vector<float>& y) {
  auto weight = blocks.weights.begin();
  for (int i = 0; i < count; ++i) {
    for (const Shared& shared : kBlock) {
      std::vector<Product> products;
      std::span<float> left = y;
      for (const std::int64_t out : shared.out) {
        const auto size = static_cast<std::size_t>(tokens * out);
        products.push_back({&*weight++, left.first(size)});
        left = left.subspan(size);
      }
      const auto input = x.first(static_cast<std::size_t>(tokens * shared.in));
      if (scheme.activation_bits == 16) {
        packed_product(isa, input, products);
      } else {
        const ActivationScheme activation{.bits = scheme.activation_bits, .group_size = kGroup};
        packed_product(isa, pack_activations(input, shared.in, kGroup, activation), products);
      }
    }
  }
}

struct Roofs {
  double bandwidth, operations;
};

void print_row(std::string_view scheme, std::string_view kernels, double bytes, const Seconds& one,
               const Seconds& many, const Roofs& roofs) {
  const double speed = bytes / one.median;
  const double operations = 2 * weights_of_a_block() * kPrompt / many.median;
  fmt::print("{:8} {:9} {:>8.2f} {:>15} {:>6.1f} {:>5.0f} % {:>9.1f} {:>17} {:>6.2f} {:>5.0f} %\n",
             scheme, kernels, one.median * 1e3,
             fmt::format("{:.2f}-{:.2f}", one.least * 1e3, one.most * 1e3), speed * 1e-9,
             100 * speed / roofs.bandwidth, many.median * 1e3,
             fmt::format("{:.1f}-{:.1f}", many.least * 1e3, many.most * 1e3), operations * 1e-12,
             100 * operations / roofs.operations);
  std::fflush(stdout);
}

void measure_blas(const Roofs& roofs) {
  const std::vector<float> w = some_floats(14336 * 4096);
  const std::vector<float> x = some_floats(kPrompt * 14336);
  std::vector<float> y(static_cast<std::size_t>(kPrompt * 14336));
  const auto block = [&](std::int64_t tokens) {
    for (const Shared& shared : kBlock) {
      for (const std::int64_t out : shared.out) {
        linear_product({x.data(), tokens, shared.in, shared.in},
                       {w.data(), out, shared.in, shared.in}, nullptr,
                       {y.data(), tokens, out, out});
      }
    }
  };
  print_row("float32", "BLAS", 4 * weights_of_a_block(), time_of([&] { block(1); }),
            time_of([&] { block(kPrompt); }), roofs);
}

struct Options {
  std::vector<Isa> isas;
  std::vector<Scheme> schemes;
};

void run(const Options& options) {
  const double bandwidth = read_bandwidth();
  fmt::print("{} threads; linears of a LLaMA-3-8B block ({:.0f} M weights), groups of {}\n",
             thread_count(), weights_of_a_block() * 1e-6, kGroup);
  fmt::print("reads {:.1f} GB/s; byte products in registers, TOP/s:", bandwidth * 1e-9);
  std::vector<double> peaks;
  for (const Isa isa : options.isas) {
    peaks.push_back(integer_peak(isa));
    fmt::print(" {} {:.2f}", name_of(isa), peaks.back() * 1e-12);
  }
  fmt::print("\n\n{:8} {:9} {:>8} {:>15} {:>6} {:>7} {:>9} {:>17} {:>6} {:>7}\n", "scheme",
             "kernels", "1 tok ms", "range", "GB/s", "of roof", "512, ms", "range", "TOP/s",
             "of roof");
  const std::vector<float> x = some_floats(kPrompt * 14336);
  std::vector<float> y(static_cast<std::size_t>(kPrompt * 2 * 14336));
  for (const Scheme& scheme : options.schemes) {
    if (scheme.bits == 32) {
      measure_blas({bandwidth, peaks.back()});
      continue;
    }
    const Blocks blocks = make_blocks(scheme.bits);
    for (std::size_t i = 0; i < options.isas.size(); ++i) {
      const Isa isa = options.isas[i];
      Seconds one = time_of([&] { run_blocks(isa, scheme, blocks, blocks.count, x, 1, y); });
      for (double* seconds : {&one.least, &one.median, &one.most}) *seconds /= blocks.count;
      const Seconds many = time_of([&] { run_blocks(isa, scheme, blocks, 1, x, kPrompt, y); });
      print_row(fmt::format("W{}A{}", scheme.bits, scheme.activation_bits), name_of(isa),
                blocks.bytes, one, many, {bandwidth, peaks[i]});
    }
  }
}

// The options, or nothing when one is not understood.
bool read_options(std::span<char*> arguments, Options& options) {
  for (std::size_t i = 0; i + 1 < arguments.size(); i += 2) {
    const std::string option = arguments[i];
    const std::string value = arguments[i + 1];
    if (option == "--threads") {
      set_thread_count(std::max(1, std::atoi(value.c_str())));
    } else if (option == "--isa") {
      for (const Isa isa : supported_isas()) {
        if (name_of(isa) == value) options.isas.push_back(isa);
      }
      if (options.isas.empty()) return false;
    } else if (option == "--scheme") {
      const std::size_t a = value.find('A');
      if (value.front() != 'W' || a == std::string::npos) return false;
      options.schemes.push_back({std::atoi(value.c_str() + 1), std::atoi(value.c_str() + a + 1)});
    } else {
      return false;
    }
  }
  if (options.isas.empty()) {
    options.isas = supported_isas();
    options.isas.erase(options.isas.begin(), options.isas.begin() + 2);  // reference, portable
  }
  if (options.schemes.empty()) {
    options.schemes = {{32, 32}, {16, 16}};
    for (const int bits : {4, 3, 2}) {
      for (const int activation_bits : {16, 8, 4})
        options.schemes.push_back({bits, activation_bits});
    }
  }
  return arguments.size() % 2 == 0;
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  lowbit::Options options;
  const auto arguments = std::span(argv, static_cast<std::size_t>(argc)).subspan(1);
  if (!lowbit::read_options(arguments, options)) {
    fmt::print(stderr, "usage: {} [--threads N] [--isa NAME]... [--scheme W4A8]...\n", argv[0]);
    return 2;
  }
  lowbit::run(options);
  return 0;
}
