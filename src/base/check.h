// CHECK(condition): aborts with file, line and the failed expression. For broken invariants only;
// nothing from outside (file, text, argument) may ever reach one.
#pragma once

namespace lowbit {

[[noreturn]] void check_failed(const char* file, int line, const char* expression);

}  // namespace lowbit

#undef CHECK  // LibTorch's headers bring another one
#define CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::lowbit::check_failed(__FILE__, __LINE__, #condition))
