#include <new>

#include "kernels/packed_weight.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lowbit {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLarge = 2 * kHugePage;

std::align_val_t alignment(std::size_t bytes) {
  return std::align_val_t{bytes >= kLarge ? kHugePage : 64};
}

}  // namespace

void* allocate_lines(std::size_t bytes) {
  void* const memory = ::operator new(bytes, alignment(bytes));
#if defined(__linux__)
  // Whole huge pages alone, as the rest of the last one may be another's; a refusal only costs
  // time.
  if (bytes >= kLarge) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return memory;
}

void free_lines(void* memory, std::size_t bytes) { ::operator delete(memory, alignment(bytes)); }

}  // namespace lowbit
