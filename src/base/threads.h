// A loop over [0, count) on the program's threads.
#pragma once

#include <cstdint>
#include <functional>

namespace lowbit {

// Threads used by every parallel loop of ours; at first the processor's count. Set it once, at
// start.
void set_thread_count(int count);
int thread_count();

// Calls body(begin, end) on disjoint pieces that cover [0, count), each at least `grain` long.
// The cut does not depend on timing, so results that depend on it are the same every run. With
// several pieces a thread, one whose processor is slower takes fewer.
void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t begin, std::int64_t end)>& body,
                  std::int64_t pieces_a_thread = 1);

// The grain of a loop whose turns take so many additions or multiplications each: less than that is
// not worth waking a thread for.
std::int64_t grain_of(std::int64_t operations_a_turn);

}  // namespace lowbit
