#include "calib/tensor.h"

#include <cstring>
#include <fstream>

namespace lowbit {

Tensor to_tensor(const std::vector<float>& values, std::vector<std::int64_t> shape) {
  Tensor tensor = at::empty(shape, at::kFloat);
  CHECK(tensor.numel() == static_cast<std::int64_t>(values.size()));
  std::memcpy(tensor.data_ptr<float>(), values.data(), values.size() * sizeof(float));
  return tensor;
}

std::vector<float> to_floats(const Tensor& tensor) {
  const Tensor flat = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
  const float* data = flat.data_ptr<float>();
  return {data, data + flat.numel()};
}

Result<at::Device> find_device(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  const bool cuda = name == "cuda" || name.starts_with("cuda:");
  if (!cuda) {
    return usage_error("quantize/device",
                       "--device: found '" + name + "', expected cpu, cuda or cuda:N");
  }
  int index = 0;
  if (name.size() > 5) {
    const std::string digits = name.substr(5);
    if (digits.empty() || digits.size() > 3 ||
        digits.find_first_not_of("0123456789") != std::string::npos) {
      return usage_error("quantize/device",
                         "--device: found '" + name + "', expected cuda:N with a number N");
    }
    index = std::stoi(digits);
  }
  if (!torch::cuda::is_available() || index >= static_cast<int>(torch::cuda::device_count())) {
    return environment_error(
        "quantize/no-cuda",
        "--device " + name + ": this LibTorch sees " + std::to_string(torch::cuda::device_count()) +
            " CUDA devices; build against a LibTorch with CUDA (CMAKE_PREFIX_PATH) on a machine "
            "with a GPU, or use --device cpu");
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

bool has_fast_bfloat16(const at::Device& device) {
  if (device.is_cuda()) return true;
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line;
  while (std::getline(cpuinfo, line)) {
    if (!line.starts_with("flags")) continue;
    return line.find(" amx_bf16") != std::string::npos ||
           line.find(" avx512_bf16") != std::string::npos;
  }
  return false;
}

}  // namespace lowbit
