// The one place that says which parts of LibTorch calibration uses, and the few conversions between
// its tensors and ours. Compiles against LibTorch 1.13 and 2.x.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/cuda.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace lowbit {

using at::Tensor;

// A float32 tensor on the CPU that owns a copy of the values.
Tensor to_tensor(const std::vector<float>& values, std::vector<std::int64_t> shape);
// The values of any float tensor, as float32.
std::vector<float> to_floats(const Tensor& tensor);

// "cpu", "cuda" or "cuda:N". "quantize/device" for another word, "quantize/no-cuda" where LibTorch
// or the machine has no such device.
Result<at::Device> find_device(const std::string& name);

// Whether bfloat16 matrix products are worth it: always on a GPU, on a processor with AMX or
// AVX512-BF16.
bool has_fast_bfloat16(const at::Device& device);

}  // namespace lowbit
