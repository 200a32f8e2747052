#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace lowbit {

void check_failed(const char* file, int line, const char* expression) {
  std::fprintf(stderr, "lowbit: internal error: %s:%d: CHECK(%s) failed\n", file, line, expression);
  std::abort();
}

}  // namespace lowbit
