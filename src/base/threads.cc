// A small persistent pool: workers wait between loops, wake up together, and take pieces of the
// loop by a shared counter. Which thread runs a piece depends on timing; where the pieces are cut
// does not. Waiting is a short spin, then sleep: a model's token is hundreds of short loops, and
// waking a sleeping thread takes longer than many of them.
#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"

namespace lowbit {
namespace {

using Body = std::function<void(std::int64_t, std::int64_t)>;

constexpr int kSpins = 4000;  // about 50 us

// True as soon as `done` is; false after a while.
template <typename Done>
bool spin_until(const Done& done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  return false;
}

constexpr int kMaxThreads = 1024;

int processors_we_may_use() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  int count = 0;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) count = CPU_COUNT(&allowed);
  if (count == 0) count = static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(count, 1, kMaxThreads);
}

// True on a thread that is inside a loop: loops within it run on that thread alone.
thread_local bool inside_loop = false;

// One loop: `pieces` nearly equal parts of [0, count).
struct Loop {
  const Body* body;
  std::int64_t count;
  std::int64_t pieces;
  std::atomic<std::int64_t> next{0};
  std::mutex failure_guard = {};
  std::exception_ptr failure = nullptr;

  // Piece i begins here. Not count * i / pieces, which could overflow.
  std::int64_t cut(std::int64_t i) const {
    return count / pieces * i + std::min(i, count % pieces);
  }

  void run_pieces() {
    for (std::int64_t i = next.fetch_add(1); i < pieces; i = next.fetch_add(1)) {
      try {
        (*body)(cut(i), cut(i + 1));
      } catch (...) {  // of third-party code; thrown again on the thread that began the loop
        const std::lock_guard lock(failure_guard);
        if (!failure) failure = std::current_exception();
      }
    }
  }
};

class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }

  ~Pool() {
    {
      const std::lock_guard lock(guard_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs the loop on all workers and the caller; returns when every piece is done.
  void run(Loop& loop) {
    {
      const std::lock_guard lock(guard_);
      loop_ = &loop;
      busy_ = workers_.size();
      ++generation_;
    }
    if (sleepers_ > 0) wake_.notify_all();
    loop.run_pieces();
    const auto all_done = [this] { return busy_ == 0; };
    if (!spin_until(all_done)) {
      std::unique_lock lock(guard_);
      done_.wait(lock, all_done);
    }
    loop_ = nullptr;
  }

 private:
  void work() {
    inside_loop = true;
    std::uint64_t seen = 0;
    const auto called = [&] { return stopping_ || generation_ != seen; };
    while (true) {
      if (!spin_until(called)) {
        std::unique_lock lock(guard_);
        ++sleepers_;
        wake_.wait(lock, called);
        --sleepers_;
      }
      if (stopping_) return;
      seen = generation_;
      loop_.load()->run_pieces();
      // Under the lock, so that the caller cannot look, find us busy, and then miss the call.
      const std::lock_guard lock(guard_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex guard_;
  std::condition_variable wake_, done_;
  std::atomic<Loop*> loop_ = nullptr;
  std::atomic<std::uint64_t> generation_ = 0;  // of loops; written under the lock, as the next two
  std::atomic<std::size_t> busy_ = 0;          // workers that have not finished the loop
  std::atomic<bool> stopping_ = false;
  std::atomic<int> sleepers_ = 0;
  std::vector<std::thread> workers_;
};

// The program's threads. Started at the first loop that has work for them.
struct Threads {
  std::mutex one_loop_at_a_time;
  std::atomic<int> count{processors_we_may_use()};
  std::unique_ptr<Pool> pool;
};

Threads& threads() {
  static Threads all;
  return all;
}

}  // namespace

void set_thread_count(int count) {
  CHECK(!inside_loop);
  Threads& all = threads();
  const std::lock_guard lock(all.one_loop_at_a_time);
  all.count = std::clamp(count, 1, kMaxThreads);
  all.pool.reset();
}

int thread_count() { return threads().count; }

void parallel_for(std::int64_t count, std::int64_t grain, const Body& body,
                  std::int64_t pieces_a_thread) {
  if (count <= 0) return;
  Threads& all = threads();
  const std::int64_t most_pieces =
      std::max<std::int64_t>(1, count / std::max<std::int64_t>(1, grain));
  Loop loop{.body = &body,
            .count = count,
            .pieces = std::min<std::int64_t>(most_pieces, all.count * pieces_a_thread)};
  // A nested loop has the same cuts, so that a result does not depend on where it is computed.
  if (inside_loop || loop.pieces == 1 || all.count == 1) {
    loop.run_pieces();
  } else {
    const std::lock_guard lock(all.one_loop_at_a_time);
    if (!all.pool || all.pool->size() != all.count) all.pool = std::make_unique<Pool>(all.count);
    inside_loop = true;
    all.pool->run(loop);
    inside_loop = false;
  }
  if (loop.failure) std::rethrow_exception(loop.failure);
}

std::int64_t grain_of(std::int64_t operations_a_turn) {
  constexpr std::int64_t kWorthAPiece = 1 << 15;
  return std::max<std::int64_t>(1, kWorthAPiece / std::max<std::int64_t>(1, operations_a_turn));
}

}  // namespace lowbit
