// lowbit bench: how fast a model takes a prompt and gives tokens here, beside what the memory
// gives.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "base/progress.h"
#include "cli/command.h"
#include "cli/kv_option.h"
#include "cli/model_shapes.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/threads_option.h"
#include "kernels/roof.h"
#include "runtime/speed.h"

namespace lowbit {
namespace {

using Clock = std::chrono::steady_clock;

struct Widths {
  int weights = 4;
  int activations = 16;
};

// "W4A8" and the like.
Result<Widths> parse_scheme(const std::string& text) {
  Widths widths;
  int end = 0;
  const bool read =
      std::sscanf(text.c_str(), "W%dA%d%n", &widths.weights, &widths.activations, &end) == 2 &&
      end == static_cast<int>(text.size());
  const auto allowed = [](int bits) { return (bits >= 2 && bits <= 8) || bits == 16; };
  if (read && allowed(widths.weights) && allowed(widths.activations)) return widths;
  return usage_error(
      "bench/bad-scheme",
      fmt::format("--scheme: found '{}', expected bits of weights and activations, 2 "
                  "to 8 or 16, as in W4A16, W4A8 or W4A4",
                  text));
}

std::uint64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

struct Spread {
  double median = 0, low = 0, high = 0;
};

Spread spread_of(const std::vector<double>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {median(values), *low, *high};
}

OrderedJson json_of(const std::vector<double>& values) {
  const Spread spread = spread_of(values);
  return {{"median", spread.median}, {"min", spread.low}, {"max", spread.high}};
}

class BenchCommand : public Command {
 public:
  std::string name() const override { return "bench"; }
  std::string purpose() const override { return "Measure the speed of a model on this machine"; }

  void declare(CLI::App& app) override {
    CLI::Option* model = app.add_option("MODEL", model_, "Model folder, packed or float");
    app.add_option("--shape", shape_,
                   fmt::format("Generated weights of this shape in place of a model: {}",
                               fmt::join(model_shapes(), ", ")))
        ->excludes(model);
    app.add_option("--scheme", scheme_, "Of generated weights: W4A16, W4A8, W4A4, ...")
        ->capture_default_str();
    app.add_option("--group-size", group_size_, "Of generated weights; 0: a whole row")
        ->check(CLI::Range(0, 65536))
        ->capture_default_str();
    app.add_option("--head-bits", head_bits_, "Of a generated head")
        ->check(CLI::Range(2, 8))
        ->capture_default_str();
    app.add_option("--prompt", options_.prompt, "Tokens of the prompt")->capture_default_str();
    app.add_option("--output", options_.output, "Tokens to add, one at a time")
        ->capture_default_str();
    app.add_option("--batch", options_.batch, "Sequences at once")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str();
    app.add_option("--repeats", options_.repeats, "Runs; the median is told, and the spread")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    kv_.declare(app, KvType::f16);
    json_.declare(app);
    threads_.declare(app);
    app.footer(
        "Examples:\n"
        "  lowbit bench out/tiny-w4a4\n"
        "  lowbit bench --shape llama-3-8b --scheme W4A8 --prompt 512 --output 32");
  }

  Status run() override {
    threads_.apply();
    if (model_.empty() == shape_.empty()) {
      return usage_error("cli/usage",
                         "give a MODEL folder or --shape NAME; see 'lowbit bench "
                         "--help'");
    }
    const Clock::time_point start = Clock::now();
    std::optional<ReferenceModel> source;  // which the engine reads from
    Result<Engine> engine = shape_.empty() ? load(source) : generate();
    if (!engine) return std::move(engine).error();
    const double load_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const double roof = read_bandwidth();
    const Result<Speed> speed = [&] {
      Progress progress("bench", options_.repeats * (1 + options_.output));
      return measure_speed(*engine, options_,
                           [&](std::int64_t done, std::int64_t) { progress.update(done); });
    }();
    if (!speed) return speed.error();
    const KvType kv = source ? kv_.type(*source) : kv_.type();
    const OrderedJson result = result_of(*engine, *speed, kv, roof, load_seconds);
    if (!json_.replaces_table()) fmt::print("{}", table_of(result));
    return json_.write(result);
  }

 private:
  EngineOptions engine_options(KvType kv) const {
    return {.kv = kv, .cache_positions = options_.cache_positions()};
  }

  Result<Engine> load(std::optional<ReferenceModel>& source) const {
    Result<ReferenceModel> model = ReferenceModel::open(real_file_system(), model_);
    if (!model) return std::move(model).error();
    source.emplace(std::move(*model));
    return Engine::load(*source, engine_options(kv_.type(*source)));
  }

  Result<Engine> generate() const {
    const Result<ModelSpec> spec = shape_named(shape_);
    if (!spec) return spec.error();
    const Result<Widths> widths = parse_scheme(scheme_);
    if (!widths) return widths.error();
    return Engine::generate(
        {.spec = *spec,
         .weight = {.bits = widths->weights, .group_size = group_size_},
         .activation = {.bits = widths->activations,
                        .per = group_size_ == 0 ? ActivationGranularity::token
                                                : ActivationGranularity::token_group,
                        .group_size = group_size_},
         .head = {.bits = head_bits_}},
        engine_options(kv_.type()));
  }

  OrderedJson result_of(const Engine& engine, const Speed& speed, KvType kv, double roof,
                        double load_seconds) const {
    const Result<Isa> isa = chosen_isa();
    const double reads = median(speed.output_bytes_per_second);
    OrderedJson result = {{"model", shape_.empty() ? model_ : shape_},
                          {"threads", thread_count()},
                          {"kernels", isa ? name_of(*isa) : ""},
                          {"kv", name_of(kv)},
                          {"prompt", options_.prompt},
                          {"output", options_.output},
                          {"batch", options_.batch},
                          {"repeats", options_.repeats},
                          {"load_seconds", load_seconds},
                          {"weight_bytes", engine.weight_bytes()},
                          {"cache_bytes_per_position", engine.cache_bytes_per_position()},
                          {"peak_memory_bytes", peak_memory_bytes()},
                          {"prompt_tokens_per_second", json_of(speed.prompt_tokens_per_second)},
                          {"output_tokens_per_second", json_of(speed.output_tokens_per_second)},
                          {"output_bytes_per_second", reads},
                          {"read_bandwidth", roof},
                          {"share_of_read_bandwidth", reads / roof}};
    if (!shape_.empty()) {
      result["scheme"] = scheme_;
      result["group_size"] = group_size_;
      result["head_bits"] = head_bits_;
    }
    return result;
  }

  static std::string table_of(const OrderedJson& result) {
    const auto rate = [&](const char* key) {
      const OrderedJson& values = result[key];
      return fmt::format("{:.2f} tokens/s ({:.2f} to {:.2f})", values["median"].get<double>(),
                         values["min"].get<double>(), values["max"].get<double>());
    };
    const auto giga = [&](const char* key) { return result[key].get<double>() * 1e-9; };
    Table table({{"measure"}, {"value"}});
    table.add({"prompt", rate("prompt_tokens_per_second")});
    table.add({"output", rate("output_tokens_per_second")});
    table.add({"reads of the output",
               fmt::format("{:.1f} GB/s, {:.0f} % of the {:.1f} that this memory gives",
                           giga("output_bytes_per_second"),
                           100 * result["share_of_read_bandwidth"].get<double>(),
                           giga("read_bandwidth"))});
    table.add({"weights", size_text(result["weight_bytes"].get<std::uint64_t>())});
    table.add(
        {"keys and values of 1024 positions",
         fmt::format("{}, {}",
                     size_text(1024 * result["cache_bytes_per_position"].get<std::uint64_t>()),
                     result["kv"].get<std::string>())});
    table.add({"peak memory", size_text(result["peak_memory_bytes"].get<std::uint64_t>())});
    table.add({"loading", duration_text(result["load_seconds"].get<double>())});
    table.add({"kernels", fmt::format("{}, {} threads", result["kernels"].get<std::string>(),
                                      result["threads"].get<int>())});
    return table.render();
  }

  std::string model_, shape_, scheme_ = "W4A4";
  std::int64_t group_size_ = 128;
  int head_bits_ = 8;
  SpeedOptions options_;
  KvOption kv_;
  JsonOutput json_;
  ThreadsOption threads_;
};

}  // namespace

std::unique_ptr<Command> make_bench_command() { return std::make_unique<BenchCommand>(); }

}  // namespace lowbit
