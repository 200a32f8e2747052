#include "format/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "io/checkpoint.h"

namespace lowbit {
namespace {

constexpr std::string_view kPackedSuffix = ".weight_packed";

// Control characters of hostile names must not reach a terminal.
std::string printable(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result;
}

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::uint64_t kMebi = 1 << 20;
  if (bytes < kMebi) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024.0);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / static_cast<double>(kMebi));
}

// Module names that may be linears: all that have a packed weight or a float matrix.
std::vector<std::string> linear_names(const std::vector<InspectedTensor>& tensors) {
  std::vector<std::string> names;
  for (const InspectedTensor& tensor : tensors) {
    const std::string& name = tensor.info.name;
    for (const std::string_view suffix : {kPackedSuffix, std::string_view(".weight")}) {
      const bool matrix = suffix == kPackedSuffix || tensor.info.shape.size() == 2;
      if (name.ends_with(suffix) && matrix)
        names.push_back(name.substr(0, name.size() - suffix.size()));
    }
  }
  return names;
}

// Told by weight_shape; where there is none, by the codes, of which a byte holds one or two.
Status find_shape(const Checkpoint& checkpoint, InspectedLinear& linear) {
  const bool told = linear.scheme.weight.format == WeightFormat::integer;
  const std::string name = fmt::format(
      "{}.{}", linear.name, told ? "weight_shape" : stored_parts(linear.scheme.weight).front());
  const Result<Checkpoint::Tensor> tensor = checkpoint.tensor(name);
  if (!tensor) return tensor.error();
  std::int64_t sizes[2] = {};
  if (told && (tensor->info->dtype != DType::i64 || tensor->bytes.size() != sizeof sizes)) {
    return bad_input("packed/wrong-shape", fmt::format("tensor '{}' is no pair of I64", name));
  }
  if (told) {
    std::memcpy(sizes, tensor->bytes.data(), sizeof sizes);
  } else if (tensor->info->shape.size() == 2) {
    sizes[0] = tensor->info->shape[0];
    sizes[1] = tensor->info->shape[1] * (8 / linear.scheme.weight.bits);
  }
  linear.out = sizes[0];
  linear.in = sizes[1];
  if (linear.out > 0 && linear.in > 0) return {};
  return bad_input("packed/wrong-shape",
                   fmt::format("tensor '{}' says [{}, {}]", name, linear.out, linear.in));
}

Result<InspectedLinear> inspect_linear(const Checkpoint& checkpoint, const std::string& name,
                                       const LinearScheme& scheme) {
  InspectedLinear linear{.name = name, .scheme = scheme};
  if (Status status = find_shape(checkpoint, linear); !status) return status.error();
  if (Status status = check_transform(name, scheme.transform, linear.in); !status) {
    return status.error();
  }
  if (Status status = check_low_rank(name, scheme.low_rank, linear.out, linear.in); !status) {
    return status.error();
  }
  std::vector<std::string_view> parts = stored_parts(scheme.weight);
  for (const std::string_view part : stored_input_parts(name, scheme)) parts.push_back(part);
  for (const std::string_view part : parts) {
    const std::string tensor = fmt::format("{}.{}", name, part);
    if (!checkpoint.has(tensor)) continue;
    const Result<Checkpoint::Tensor> found = checkpoint.tensor(tensor);
    if (found) linear.stored_bytes += found->info->size_bytes();
  }
  return linear;
}

// The first thing that hinders the table becomes inspection.problem: the list of tensors stays
// useful.
Status add_linears(const Checkpoint& checkpoint, Inspection& inspection) {
  const Result<std::optional<LowbitInfo>> info = LowbitInfo::read(checkpoint.config());
  if (!info) return info.error();
  if (*info) inspection.kv_cache = (*info)->kv_cache;
  const Result<QuantizationMap> map =
      QuantizationMap::read(checkpoint.config(), linear_names(inspection.tensors));
  if (!map) return map.error();
  for (const auto& [name, scheme] : map->schemes()) {
    Result<InspectedLinear> linear = inspect_linear(checkpoint, name, scheme);
    if (!linear) return linear.error();
    inspection.linears.push_back(*std::move(linear));
  }
  return {};
}

void add_tensors(const SafetensorsFile& file, Inspection& inspection) {
  for (const TensorInfo& tensor : file.tensors()) {
    inspection.tensors.push_back({file.path().filename().string(), tensor});
  }
}

double packed_weights(const Inspection& inspection) {
  double count = 0;
  for (const InspectedLinear& linear : inspection.linears) {
    count += static_cast<double>(linear.out) * static_cast<double>(linear.in);
  }
  return count;
}

std::uint64_t packed_bytes(const Inspection& inspection) {
  std::uint64_t bytes = 0;
  for (const InspectedLinear& linear : inspection.linears) bytes += linear.stored_bytes;
  return bytes;
}

// How wide a column must be for its longest text.
template <typename Rows, typename Text>
std::size_t width(const Rows& rows, std::string_view title, Text text) {
  std::size_t widest = title.size();
  for (const auto& row : rows) widest = std::max(widest, text(row).size());
  return widest;
}

std::string tensor_table(const std::vector<InspectedTensor>& tensors) {
  const auto name_of = [](const InspectedTensor& tensor) { return printable(tensor.info.name); };
  const auto shape_of = [](const InspectedTensor& tensor) {
    return fmt::format("[{}]", fmt::join(tensor.info.shape, ", "));
  };
  const std::size_t names = width(tensors, "tensor", name_of);
  const std::size_t shapes = width(tensors, "shape", shape_of);
  std::string text = fmt::format("{:<{}}  {:<8}  {:<{}}  {:>13}  {}\n", "tensor", names, "type",
                                 "shape", shapes, "bytes", "file");
  for (const InspectedTensor& tensor : tensors) {
    text += fmt::format("{:<{}}  {:<8}  {:<{}}  {:>13}  {}\n", name_of(tensor), names,
                        name(tensor.info.dtype), shape_of(tensor), shapes, tensor.info.size_bytes(),
                        printable(tensor.file));
  }
  return text;
}

std::string linear_table(const Inspection& inspection) {
  const auto name_of = [](const InspectedLinear& linear) { return printable(linear.name); };
  const std::size_t names = width(inspection.linears, "packed linear", name_of);
  const auto scheme_of = [](const InspectedLinear& linear) { return describe(linear.scheme); };
  const std::size_t schemes =
      std::max<std::size_t>(28, width(inspection.linears, "scheme", scheme_of));
  std::string text = fmt::format("{:<{}}  {:>7}  {:>7}  {:<{}}  {:>11}\n", "packed linear", names,
                                 "out", "in", "scheme", schemes, "bits/weight");
  for (const InspectedLinear& linear : inspection.linears) {
    text +=
        fmt::format("{:<{}}  {:>7}  {:>7}  {:<{}}  {:>11.3f}\n", name_of(linear), names, linear.out,
                    linear.in, scheme_of(linear), schemes, linear.bits_per_weight());
  }
  text += fmt::format("{} packed linears, {:.0f} weights in {}, {:.3f} bits a weight\n",
                      inspection.linears.size(), packed_weights(inspection),
                      human_bytes(packed_bytes(inspection)), inspection.bits_per_packed_weight());
  return text;
}

}  // namespace

double InspectedLinear::bits_per_weight() const {
  return 8.0 * static_cast<double>(stored_bytes) /
         (static_cast<double>(out) * static_cast<double>(in));
}

std::uint64_t Inspection::tensor_bytes() const {
  std::uint64_t bytes = 0;
  for (const InspectedTensor& tensor : tensors) bytes += tensor.info.size_bytes();
  return bytes;
}

double Inspection::bits_per_packed_weight() const {
  const double weights = packed_weights(*this);
  return weights > 0 ? 8.0 * static_cast<double>(packed_bytes(*this)) / weights : 0.0;
}

Result<Inspection> inspect(FileSystem& files, const Path& path) {
  Inspection inspection;
  inspection.path = path.string();
  const Result<FileInfo> info = files.info(path);
  if (!info) return info.error();
  if (!info->is_folder) {
    const Result<SafetensorsFile> file = SafetensorsFile::open(files, path);
    if (!file) return file.error();
    add_tensors(*file, inspection);
  } else {
    const Result<Checkpoint> checkpoint = Checkpoint::open(files, path);
    if (!checkpoint) return checkpoint.error();
    for (const SafetensorsFile& shard : checkpoint->shards()) add_tensors(shard, inspection);
    const OrderedJson& config = checkpoint->config();
    const auto architectures = config.find("architectures");
    if (architectures != config.end() && architectures->is_array() && !architectures->empty() &&
        architectures->front().is_string()) {
      inspection.architecture = architectures->front().get<std::string>();
    }
    if (Status status = add_linears(*checkpoint, inspection); !status) {
      inspection.problem = status.error().message;
      inspection.linears.clear();
    }
  }
  std::sort(inspection.tensors.begin(), inspection.tensors.end(),
            [](const auto& a, const auto& b) { return a.info.name < b.info.name; });
  return inspection;
}

std::string inspection_text(const Inspection& inspection) {
  std::string text = fmt::format(
      "{}{}\n\n", printable(inspection.path),
      inspection.architecture.empty() ? "" : " (" + printable(inspection.architecture) + ")");
  text += tensor_table(inspection.tensors);
  text += fmt::format("{} tensors, {} bytes ({})\n", inspection.tensors.size(),
                      inspection.tensor_bytes(), human_bytes(inspection.tensor_bytes()));
  if (!inspection.linears.empty()) text += "\n" + linear_table(inspection);
  if (inspection.kv_cache) {
    text += fmt::format("keys and values are kept as {}\n", name_of(*inspection.kv_cache));
  }
  if (!inspection.problem.empty()) {
    text += fmt::format("\npacked linears cannot be listed: {}\n", printable(inspection.problem));
  }
  return text;
}

OrderedJson inspection_json(const Inspection& inspection) {
  OrderedJson tensors = OrderedJson::array();
  for (const InspectedTensor& tensor : inspection.tensors) {
    tensors.push_back({{"name", tensor.info.name},
                       {"dtype", name(tensor.info.dtype)},
                       {"shape", tensor.info.shape},
                       {"bytes", tensor.info.size_bytes()},
                       {"file", tensor.file}});
  }
  OrderedJson linears = OrderedJson::array();
  for (const InspectedLinear& linear : inspection.linears) {
    linears.push_back({{"name", linear.name},
                       {"out", linear.out},
                       {"in", linear.in},
                       {"scheme", describe(linear.scheme)},
                       {"bytes", linear.stored_bytes},
                       {"bits_per_weight", linear.bits_per_weight()}});
  }
  OrderedJson result = {
      {"path", inspection.path},   {"architecture", inspection.architecture},
      {"tensors", tensors},        {"tensor_bytes", inspection.tensor_bytes()},
      {"packed_linears", linears}, {"bits_per_packed_weight", inspection.bits_per_packed_weight()}};
  if (inspection.kv_cache) result["kv_cache"] = name_of(*inspection.kv_cache);
  if (!inspection.problem.empty()) result["problem"] = inspection.problem;
  return result;
}

}  // namespace lowbit
