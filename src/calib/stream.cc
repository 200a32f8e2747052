#include "calib/stream.h"

namespace lowbit {

std::uint64_t HiddenStream::Shape::bytes() const {
  return static_cast<std::uint64_t>(windows * length * width) * sizeof(float);
}

Result<HiddenStream> HiddenStream::make(Shape shape, const Path& offload_dir) {
  auto scratch = offload_dir.empty() ? Scratch::in_memory(shape.bytes())
                                     : Scratch::on_disk(offload_dir, shape.bytes());
  if (!scratch) return scratch.error();
  return HiddenStream(shape, std::move(*scratch));
}

Tensor HiddenStream::view(std::int64_t window) const {
  CHECK(window >= 0 && window < shape_.windows);
  auto* base = scratch_.bytes().data() +
               static_cast<std::size_t>(window * shape_.length * shape_.width) * sizeof(float);
  return at::from_blob(base, {shape_.length, shape_.width}, at::kFloat);
}

Tensor HiddenStream::get(std::int64_t window, const at::Device& device) const {
  return view(window).to(device);
}

void HiddenStream::set(std::int64_t window, const Tensor& states) { view(window).copy_(states); }

}  // namespace lowbit
