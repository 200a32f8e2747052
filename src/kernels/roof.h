// What this machine gives at most, measured: the roof that speeds are compared with.
#pragma once

namespace lowbit {

// Bytes a second that all threads together read from a buffer far beyond the caches: the best run
// of plain reads and of reads with prefetch at several distances. Takes about a second, and 512
// MiB.
double read_bandwidth();

}  // namespace lowbit
