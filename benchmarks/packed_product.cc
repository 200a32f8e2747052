// Speed of packed products on the linears of LLaMA-3-8B's blocks, with generated weights: one token
// (bound by memory) and 512 tokens (bound by arithmetic), for each instruction set of this
// processor. Beside them, in the same run: what the memory gives to plain reads, and the float32
// product of the same shapes by the BLAS. Usage: bench_packed_product [THREADS]
#include "kernels/packed_product.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <vector>

#include "base/threads.h"
#include "runtime/blas.h"

namespace lowbit {
namespace {

constexpr int kRepeats = 7;
constexpr int kBlocks = 4;  // their weights are far larger than any cache
constexpr std::int64_t kPrompt = 512;

struct Linear {
  std::int64_t out, in;
};
constexpr std::array<Linear, 7> kLinears = {{{4096, 4096},
                                             {1024, 4096},
                                             {1024, 4096},
                                             {4096, 4096},
                                             {14336, 4096},
                                             {14336, 4096},
                                             {4096, 14336}}};

// Seconds of the median run.
double median_time(const std::function<void()>& run) {
  std::vector<double> times;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    times.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
  return times[kRepeats / 2];
}

double weights_of_a_block() {
  double weights = 0;
  for (const Linear& linear : kLinears) weights += static_cast<double>(linear.out * linear.in);
  return weights;
}

std::vector<float> some_floats(std::int64_t count) {
  std::vector<float> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 31) / 16.0F - 1.0F;
  return x;
}

// Bytes a second that all threads read together from a buffer beyond the caches.
double read_bandwidth() {
  const AlignedVector<std::uint64_t> buffer(std::size_t{1} << 26, 1);  // 512 MiB
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(thread_count()));
  const double seconds = median_time([&] {
    parallel_for(thread_count(), 1, [&](std::int64_t begin, std::int64_t end) {
      const std::size_t share = buffer.size() / sums.size();
      for (auto t = static_cast<std::size_t>(begin); t < static_cast<std::size_t>(end); ++t) {
        std::array<std::uint64_t, 8> sum = {};
        const std::uint64_t* at = buffer.data() + t * share;
        for (std::size_t i = 0; i + 8 <= share; i += 8) {
          __builtin_prefetch(at + i + 256);
          for (std::size_t lane = 0; lane < 8; ++lane) sum[lane] += at[i + lane];
        }
        for (const std::uint64_t lane : sum) sums[t] += lane;
      }
    });
  });
  if (sums[0] == 0) fmt::print("unexpected\n");  // the sums are used
  return static_cast<double>(buffer.size() * sizeof(std::uint64_t)) / seconds;
}

struct Blocks {
  std::vector<PackedWeight> weights;  // kBlocks x kLinears
  double bytes = 0;                   // of a block
};

Blocks make_blocks(int bits) {
  Blocks blocks;
  for (int block = 0; block < kBlocks; ++block) {
    for (const Linear& linear : kLinears) {
      blocks.weights.push_back(random_packed_weight(linear.out, linear.in,
                                                    {.bits = bits, .group_size = 128},
                                                    static_cast<std::uint64_t>(block)));
      if (block == 0) blocks.bytes += static_cast<double>(blocks.weights.back().bytes());
    }
  }
  return blocks;
}

// Activations are quantized inside, as they are in use.
void run_linears(Isa isa, int activation_bits, std::span<const PackedWeight> weights,
                 std::span<const float> x, std::int64_t tokens, std::vector<float>& y) {
  for (const PackedWeight& weight : weights) {
    const auto input = x.first(static_cast<std::size_t>(tokens * weight.in));
    const auto output = std::span(y).first(static_cast<std::size_t>(tokens * weight.out));
    if (activation_bits == 16) {
      packed_product(isa, input, weight, output);
      continue;
    }
    const ActivationScheme scheme{.bits = activation_bits, .group_size = weight.group_size};
    packed_product(isa, pack_activations(input, weight.in, weight.group_size, scheme), weight,
                   output);
  }
}

void measure_floats(double bandwidth) {
  const double weights = weights_of_a_block();
  const std::vector<float> w = some_floats(14336 * 4096);
  const std::vector<float> x = some_floats(kPrompt * 14336);
  std::vector<float> y(static_cast<std::size_t>(kPrompt * 14336));
  const auto block = [&](std::int64_t tokens) {
    for (const Linear& linear : kLinears) {
      linear_product({x.data(), tokens, linear.in, linear.in},
                     {w.data(), linear.out, linear.in, linear.in}, nullptr,
                     {y.data(), tokens, linear.out, linear.out});
    }
  };
  const double one = median_time([&] { block(1); });
  const double many = median_time([&] { block(kPrompt); });
  fmt::print("{:10} {:8} {:>10.2f} {:>8.1f} {:>7.0f} % {:>12.1f} {:>9.2f}\n", "float32", "BLAS",
             one * 1e3, 4 * weights / one * 1e-9, 400 * weights / one / bandwidth, many * 1e3,
             2 * weights * kPrompt / many * 1e-12);
}

void run() {
  const double bandwidth = read_bandwidth();
  fmt::print(
      "{} threads; plain reads {:.1f} GB/s; linears of a LLaMA-3-8B block, groups of 128\n\n",
      thread_count(), bandwidth * 1e-9);
  fmt::print("{:10} {:8} {:>10} {:>8} {:>9} {:>12} {:>9}\n", "scheme", "kernels", "1 token ms",
             "GB/s", "of reads", "512 tokens ms", "TOP/s");
  measure_floats(bandwidth);
  const std::vector<float> x = some_floats(kPrompt * 14336);
  std::vector<float> y(static_cast<std::size_t>(kPrompt * 14336));
  for (const int bits : {4, 3, 2}) {
    const Blocks blocks = make_blocks(bits);
    const std::span<const PackedWeight> all = blocks.weights;
    for (const int activation_bits : {16, 8, 4}) {
      for (const Isa isa : supported_isas()) {
        if (isa == Isa::reference || isa == Isa::portable) continue;
        const double one =
            median_time([&] { run_linears(isa, activation_bits, all, x, 1, y); }) / kBlocks;
        const double many = median_time(
            [&] { run_linears(isa, activation_bits, all.first(kLinears.size()), x, kPrompt, y); });
        fmt::print("{:10} {:8} {:>10.2f} {:>8.1f} {:>7.0f} % {:>12.1f} {:>9.2f}\n",
                   fmt::format("W{}A{}", bits, activation_bits), name_of(isa), one * 1e3,
                   blocks.bytes / one * 1e-9, 100 * blocks.bytes / one / bandwidth, many * 1e3,
                   2 * weights_of_a_block() * kPrompt / many * 1e-12);
      }
    }
  }
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  if (argc > 1) lowbit::set_thread_count(std::max(1, std::atoi(argv[1])));
  lowbit::run();
  return 0;
}
