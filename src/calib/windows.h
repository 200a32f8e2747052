// Work on several windows at a time.
#pragma once

#include <cstdint>
#include <functional>

#include "calib/tensor.h"

namespace lowbit {

// How many windows are worked on together: on the CPU each thread has windows of its own, because
// whole forward passes on one core cost less than each product cut over all of them.
std::int64_t windows_at_once(const at::Device& device);

// Calls body(window) for each of begin .. end, in parallel on the CPU.
void for_windows(const at::Device& device, std::int64_t begin, std::int64_t end,
                 const std::function<void(std::int64_t window)>& body);

}  // namespace lowbit
