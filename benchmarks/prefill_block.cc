// Where the time of a prompt goes: one block of LLaMA-3-8B's shape with generated weights takes 512
// tokens, whole, and then each of its stages by itself on values of the same size.
//
// Usage: bench_prefill_block [--threads N] [--scheme W4A8]; LOWBIT_ISA picks the kernels.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/threads.h"
#include "cli/model_shapes.h"
#include "kernels/packed_product.h"
#include "runtime/activation.h"
#include "runtime/block.h"

namespace lowbit {
namespace {

constexpr int kRepeats = 7;
constexpr std::int64_t kTokens = 512;
constexpr std::int64_t kGroup = 128;

struct Options {
  int bits = 4, activation_bits = 4;
};

std::vector<float> some_floats(std::int64_t rows, std::int64_t width) {
  std::vector<float> x(static_cast<std::size_t>(rows * width));
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i * 2654435761U % 1021) / 512.0F - 1.0F;
  }
  return x;
}

double milliseconds(const std::function<void()>& run, const char* name) {
  std::vector<double> times;
  for (int i = 0; i <= kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double, std::milli> passed =
        std::chrono::steady_clock::now() - start;
    if (i > 0) times.push_back(passed.count());  // the first warms up
  }
  std::sort(times.begin(), times.end());
  fmt::print("{:34} {:9.2f} {:9.2f}\n", name, times.front(), times[kRepeats / 2]);
  std::fflush(stdout);
  return times[kRepeats / 2];
}

LoadedBlock some_block(const ModelSpec& model, const Options& options, Isa isa) {
  const BlockSpec spec = model.block(0);
  std::uint64_t seed = 0;
  const auto linear = [&](const LinearSpec& part) {
    LoadedLinear loaded;
    loaded.out = part.out;
    loaded.in = part.in;
    loaded.isa = isa;
    loaded.activation = {.bits = options.activation_bits, .group_size = kGroup};
    loaded.arranged = random_packed_weight(part.out, part.in,
                                           {.bits = options.bits, .group_size = kGroup}, ++seed);
    return loaded;
  };
  LoadedBlock block;
  for (LoadedNorm* norm : {&block.attention_norm, &block.ffn_norm}) {
    norm->kind = model.norm;
    norm->epsilon = 1e-5F;
    norm->weight.assign(static_cast<std::size_t>(model.hidden), 1.0F);
  }
  block.q = linear(spec.q);
  block.k = linear(spec.k);
  block.v = linear(spec.v);
  block.o = linear(spec.o);
  block.gate = linear(*spec.gate);
  block.up = linear(spec.up);
  block.down = linear(spec.down);
  return block;
}

// Products without the coding of their input.
double products(const char* name, LinearInput& input,
                const std::vector<const LoadedLinear*>& linears) {
  std::vector<std::vector<float>> results;
  std::vector<LinearOutput> outputs;
  for (const LoadedLinear* linear : linears) {
    results.emplace_back(static_cast<std::size_t>(input.tokens() * linear->out));
  }
  for (std::size_t i = 0; i < linears.size(); ++i) outputs.push_back({linears[i], results[i]});
  return milliseconds([&] { apply_all(outputs, input); }, name);
}

double coding(const char* name, std::span<const float> x, const LoadedLinear& linear) {
  return milliseconds(
      [&] { LinearInput(x, linear.in).codes(linear.transform, linear.activation, kGroup); }, name);
}

void run(const Options& options) {
  const ModelSpec model = *shape_named("llama-3-8b");
  const Isa isa = *chosen_isa();
  const LoadedBlock block = some_block(model, options, isa);
  const RotaryTable rotary(*model.rope, model.head_dim, kTokens);
  KvPool pool(KvShape::of(model, KvType::f16, 1), kTokens);
  std::vector<float> hidden = some_floats(kTokens, model.hidden);
  std::vector<float> wide = some_floats(kTokens, model.ffn);
  std::vector<float> out(hidden.size());

  fmt::print("{} tokens, W{}A{}, {} threads, {}\n{:34} {:>9} {:>9}\n", kTokens, options.bits,
             options.activation_bits, thread_count(), name_of(isa), "", "least ms", "median");
  BlockRows rows;
  const double whole = milliseconds(
      [&] {
        std::vector<float> x = hidden;
        CHECK(forward_window(model, block, &rotary, pool, rows, x).ok());
      },
      "block");
  double sum =
      2 * milliseconds([&] { apply(block.attention_norm, hidden, out); }, "norm, one of two");
  sum += 3 * coding("coding of 4096, one of three", hidden, block.q);
  sum += coding("coding of 14336", wide, block.down);
  LinearInput input(hidden, model.hidden);
  LinearInput wide_input(wide, model.ffn);
  input.codes(block.q.transform, block.q.activation, kGroup);
  wide_input.codes(block.down.transform, block.down.activation, kGroup);
  sum += products("q, k, v", input, {&block.q, &block.k, &block.v});
  sum += products("o", input, {&block.o});
  sum += products("gate, up", input, {&*block.gate, &block.up});
  sum += products("down", wide_input, {&block.down});
  std::vector<float> k = some_floats(kTokens, block.k.out);
  sum += milliseconds(
      [&] {
        rotary.turn(hidden, model.hidden, 0);
        rotary.turn(k, block.k.out, 0);
      },
      "rotary");
  KvSequence cache(pool);
  const SequenceRun run{&cache, kTokens};
  CHECK(cache.reserve(kTokens).ok());
  sum += milliseconds([&] { attend(model, 0, {&run, 1}, hidden, k, k, out); }, "attention");
  std::vector<float> gate = wide;
  sum += milliseconds([&] { activate(model.activation, gate, wide); }, "silu");
  fmt::print("{:34} {:9} {:9.2f} {:.2f} of the block\n", "sum of the stages", "", sum, sum / whole);
}

bool read_options(std::span<char*> arguments, Options& options) {
  for (std::size_t i = 0; i + 1 < arguments.size(); i += 2) {
    const std::string option = arguments[i];
    const std::string value = arguments[i + 1];
    const std::size_t a = value.find('A');
    if (option == "--threads") {
      set_thread_count(std::max(1, std::atoi(value.c_str())));
    } else if (option == "--scheme" && value.front() == 'W' && a != std::string::npos) {
      options.bits = std::atoi(value.c_str() + 1);
      options.activation_bits = std::atoi(value.c_str() + a + 1);
    } else {
      return false;
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
    fmt::print(stderr, "usage: {} [--threads N] [--scheme W4A8]\n", argv[0]);
    return 2;
  }
  lowbit::run(options);
  return 0;
}
