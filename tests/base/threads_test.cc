#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace lowbit {
namespace {

class ParallelFor : public ::testing::Test {
 protected:
  void SetUp() override { set_thread_count(4); }
};

using Cuts = std::set<std::pair<std::int64_t, std::int64_t>>;

Cuts cuts_of(std::int64_t count, std::int64_t grain, std::int64_t pieces_a_thread = 1) {
  std::mutex guard;
  Cuts cuts;
  const auto note = [&](std::int64_t begin, std::int64_t end) {
    const std::lock_guard lock(guard);
    cuts.emplace(begin, end);
  };
  parallel_for(count, grain, note, pieces_a_thread);
  return cuts;
}

TEST_F(ParallelFor, CoversEveryIndexOnce) {
  for (const std::int64_t count : {1, 2, 3, 4, 5, 63, 64, 1000}) {
    std::vector<int> visits(static_cast<std::size_t>(count), 0);
    parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
    });
    EXPECT_EQ(visits, std::vector<int>(static_cast<std::size_t>(count), 1));
  }
}

TEST_F(ParallelFor, DoesNothingForNothing) {
  parallel_for(0, 1, [](std::int64_t, std::int64_t) { FAIL(); });
  parallel_for(-5, 1, [](std::int64_t, std::int64_t) { FAIL(); });
}

TEST_F(ParallelFor, CutsNoPieceShorterThanTheGrain) {
  EXPECT_EQ(cuts_of(10, 100), (Cuts{{0, 10}}));
  EXPECT_EQ(cuts_of(10, 4), (Cuts{{0, 5}, {5, 10}}));
  EXPECT_EQ(cuts_of(10, 1), (Cuts{{0, 3}, {3, 6}, {6, 8}, {8, 10}}));
}

TEST_F(ParallelFor, CutsSeveralPiecesAThreadWhereAsked) {
  EXPECT_EQ(cuts_of(8, 1, 2).size(), 8U);
  EXPECT_EQ(cuts_of(80, 1, 2),
            (Cuts{{0, 10}, {10, 20}, {20, 30}, {30, 40}, {40, 50}, {50, 60}, {60, 70}, {70, 80}}));
  EXPECT_EQ(cuts_of(80, 40, 2), (Cuts{{0, 40}, {40, 80}}));
}

TEST_F(ParallelFor, CutsTheSameEveryTime) {
  const Cuts first = cuts_of(1001, 7);
  for (int i = 0; i < 200; ++i) ASSERT_EQ(cuts_of(1001, 7), first);
}

TEST_F(ParallelFor, SurvivesCountsNearTheLargest) {
  const auto most = std::numeric_limits<std::int64_t>::max();
  const Cuts cuts = cuts_of(most, 1);
  EXPECT_EQ(cuts.size(), 4u);
  EXPECT_EQ(cuts.rbegin()->second, most);
}

TEST_F(ParallelFor, RunsANestedLoopOnItsOwnThreadWithTheSameCuts) {
  const Cuts outside = cuts_of(1001, 7);
  std::atomic<int> strays{0}, different{0};
  parallel_for(8, 1, [&](std::int64_t, std::int64_t) {
    const auto here = std::this_thread::get_id();
    Cuts inside;  // without a guard: the thread sanitizer would tell
    parallel_for(1001, 7, [&](std::int64_t begin, std::int64_t end) {
      if (std::this_thread::get_id() != here) ++strays;
      inside.emplace(begin, end);
    });
    if (inside != outside) ++different;
  });
  EXPECT_EQ(strays, 0);
  EXPECT_EQ(different, 0);
}

TEST_F(ParallelFor, UsesSeveralThreads) {
  // Each piece waits for another one, so that one thread alone would never come to the end.
  std::atomic<int> arrived{0};
  parallel_for(4, 1, [&](std::int64_t, std::int64_t) {
    ++arrived;
    while (arrived < 4) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 4);
}

TEST_F(ParallelFor, HandsAnExceptionOfThirdPartyCodeToTheCaller) {
  const auto throwing = [](std::int64_t begin, std::int64_t) {
    if (begin >= 500) throw std::runtime_error("from a library");
  };
  EXPECT_THROW(parallel_for(1000, 1, throwing), std::runtime_error);
  EXPECT_EQ(cuts_of(4, 1).size(), 4u);  // and the threads are still there
}

TEST_F(ParallelFor, SerialThreadCountRunsOnTheCaller) {
  set_thread_count(1);
  const auto here = std::this_thread::get_id();
  parallel_for(100, 1, [&](std::int64_t begin, std::int64_t end) {
    EXPECT_EQ(std::this_thread::get_id(), here);
    EXPECT_EQ(end - begin, 100);
  });
}

TEST_F(ParallelFor, LoopsOfSeveralThreadsDoNotMix) {
  std::vector<std::int64_t> sums(3, 0);
  std::vector<std::thread> callers;
  for (auto& sum : sums) {
    callers.emplace_back([&sum] {
      for (int repeat = 0; repeat < 100; ++repeat) {
        std::vector<std::int64_t> parts(100, 0);
        parallel_for(100, 1, [&](std::int64_t begin, std::int64_t end) {
          for (auto i = begin; i < end; ++i) parts[static_cast<std::size_t>(i)] = i;
        });
        sum += std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
      }
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(sums, std::vector<std::int64_t>(3, 100 * 4950));
}

TEST(ThreadCount, IsAtLeastOne) {
  set_thread_count(-3);
  EXPECT_EQ(thread_count(), 1);
  set_thread_count(2);
  EXPECT_EQ(thread_count(), 2);
}

}  // namespace
}  // namespace lowbit
