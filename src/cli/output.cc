#include "cli/output.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>

#include "base/file.h"
#include "cli/printable.h"

namespace lowbit {

std::string size_text(std::uint64_t bytes) {
  const auto amount = static_cast<double>(bytes);
  if (bytes < 1'000) return fmt::format("{} B", bytes);
  if (bytes < 1'000'000) return fmt::format("{:.1f} kB", amount / 1e3);
  if (bytes < 1'000'000'000) return fmt::format("{:.1f} MB", amount / 1e6);
  return fmt::format("{:.2f} GB", amount / 1e9);
}

std::string duration_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const std::int64_t whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

void print_notices(const std::vector<std::string>& notices, const std::string& place) {
  for (const std::string& notice : notices) {
    fmt::print(stderr, "lowbit: note: {}\n", printable(place + notice));
  }
}

void JsonOutput::declare(CLI::App& app) {
  app.add_option("--json", file, "Write JSON to FILE; without FILE, JSON alone to standard output")
      ->type_name("FILE")
      ->expected(0, 1)
      ->default_str("-");
}

Status JsonOutput::write(const OrderedJson& document) const {
  if (file.empty()) return {};
  const std::string text =
      document.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
  if (file != "-") return write_whole(real_file_system(), file, text);
  fmt::print("{}", text);
  return {};
}

OrderedJson number_or_null(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

}  // namespace lowbit
