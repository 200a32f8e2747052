// A stream of hidden states: one [length, width] float32 tensor a window, in memory or on disk. The
// teacher's and the student's streams move through the blocks, each block overwriting the last.
#pragma once

#include "base/scratch.h"
#include "calib/tensor.h"

namespace lowbit {

class HiddenStream {
 public:
  struct Shape {
    std::int64_t windows = 0;
    std::int64_t length = 0;  // tokens
    std::int64_t width = 0;
    std::uint64_t bytes() const;
  };
  // `offload_dir` empty: in memory.
  static Result<HiddenStream> make(Shape shape, const Path& offload_dir);

  std::int64_t windows() const { return shape_.windows; }
  // The window's states on `device`; a copy unless that is the CPU, where it is the stream itself.
  Tensor get(std::int64_t window, const at::Device& device) const;
  void set(std::int64_t window, const Tensor& states);

 private:
  HiddenStream(Shape shape, Scratch scratch) : shape_(shape), scratch_(std::move(scratch)) {}
  Tensor view(std::int64_t window) const;

  Shape shape_;
  Scratch scratch_;
};

}  // namespace lowbit
