#include "calib/windows.h"

#include <ATen/Parallel.h>

#include "base/threads.h"
#include "runtime/blas.h"

namespace lowbit {

std::int64_t windows_at_once(const at::Device& device) {
  return device.is_cpu() ? 2 * thread_count() : 1;
}

void for_windows(const at::Device& device, std::int64_t begin, std::int64_t end,
                 const std::function<void(std::int64_t window)>& body) {
  if (!device.is_cpu() || end - begin < 2) {
    for (std::int64_t window = begin; window < end; ++window) body(window);
    return;
  }
  const SingleThreadedBlas single;
  const bool gradients = at::GradMode::is_enabled();
  at::parallel_for(begin, end, 1, [&](std::int64_t first, std::int64_t last) {
    const at::AutoGradMode mode(gradients);  // it belongs to a thread
    for (std::int64_t window = first; window < last; ++window) body(window);
  });
}

}  // namespace lowbit
