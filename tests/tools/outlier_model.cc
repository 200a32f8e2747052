// outlier_model SOURCE OUTPUT [--seed N]: a float checkpoint with the same function and outliers
// (tools/outliers.h).
#include <charconv>
#include <cstdio>
#include <string_view>

#include "tools/outliers.h"

namespace {

constexpr const char* kUsage = "usage: outlier_model SOURCE OUTPUT [--seed N]\n";
constexpr int kUsageStatus = 2;

bool read_seed(std::string_view text, std::uint64_t& seed) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, seed);
  return error == std::errc{} && stopped == end;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t seed = 1;
  const bool seeded = argc == 5 && std::string_view(argv[3]) == "--seed";
  if ((argc != 3 && !seeded) || (seeded && !read_seed(argv[4], seed))) {
    std::fputs(kUsage, stderr);
    return kUsageStatus;
  }
  const lowbit::Status written = lowbit::test::write_outlier_model(argv[1], argv[2], seed);
  if (written) return 0;
  std::fprintf(stderr, "outlier_model: error: %s\n", written.error().message.c_str());
  return static_cast<int>(written.error().kind);
}
