#include "text/unicode_class.h"

#include <vector>

namespace lowbit {
namespace {

constexpr char32_t kCodePoints = 0x110000;

// One byte a code point: a scan asks for the class of every character of the text.
std::vector<std::uint8_t> expand_runs() {
  std::vector<std::uint8_t> classes(kCodePoints);
  for (std::size_t run = 0; run < kClassRuns.size(); ++run) {
    const std::uint32_t begin = kClassRuns[run] >> 6;
    const std::uint32_t end =
        run + 1 < kClassRuns.size() ? kClassRuns[run + 1] >> 6 : std::uint32_t{kCodePoints};
    for (std::uint32_t point = begin; point < end; ++point) {
      classes[point] = static_cast<std::uint8_t>(kClassRuns[run] & 63);
    }
  }
  return classes;
}

}  // namespace

std::uint8_t classes_of(char32_t point) {
  static const std::vector<std::uint8_t> kClasses = expand_runs();
  return point < kCodePoints ? kClasses[point] : std::uint8_t{0};
}

bool is_of_class(char32_t point, std::uint8_t classes) {
  return (classes_of(point) & classes) != 0;
}

}  // namespace lowbit
