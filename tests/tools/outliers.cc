#include "tools/outliers.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "model/model_spec.h"

namespace lowbit::test {
namespace {

constexpr double kSmallestFactor = 20.0;
constexpr double kLargestFactor = 50.0;
constexpr float kUpFactor = 20.0F;
constexpr std::uint64_t kCompanionLimit = std::uint64_t{256} << 20;
constexpr const char* kCompanions[] = {"tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.json",
                                       "merges.txt",
                                       "generation_config.json",
                                       "chat_template.jinja"};

struct FloatTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};
using Tensors = std::map<std::string, FloatTensor>;

struct Outlier {
  std::int64_t channel = 0;
  float factor = 1.0F;
};

// The standard library's distributions differ between implementations; this one does not.
class Choice {
 public:
  explicit Choice(std::uint64_t seed) : generator_(seed) {}

  // 1 % of the channels, at least 2, each once.
  std::vector<std::int64_t> channels(std::int64_t width) {
    const std::int64_t count = std::min(width, std::max<std::int64_t>(2, width / 100));
    std::vector<std::int64_t> all(static_cast<std::size_t>(width));
    std::iota(all.begin(), all.end(), 0);
    for (std::int64_t at = 0; at < count; ++at) {
      const auto other =
          at + static_cast<std::int64_t>(uniform() * static_cast<double>(width - at));
      std::swap(all[static_cast<std::size_t>(at)], all[static_cast<std::size_t>(other)]);
    }
    all.resize(static_cast<std::size_t>(count));
    return all;
  }
  std::vector<Outlier> outliers(std::int64_t width) {
    std::vector<Outlier> chosen;
    for (const std::int64_t channel : channels(width)) {
      const double factor = kSmallestFactor * std::pow(kLargestFactor / kSmallestFactor, uniform());
      chosen.push_back({channel, static_cast<float>(factor)});
    }
    return chosen;
  }

 private:
  double uniform() { return std::ldexp(static_cast<double>(generator_() >> 11), -53); }  // [0, 1)

  std::mt19937_64 generator_;
};

void scale_row(FloatTensor& matrix, const Outlier& outlier) {
  const std::int64_t columns = matrix.shape.size() == 2 ? matrix.shape[1] : 1;
  for (std::int64_t column = 0; column < columns; ++column) {
    matrix.values[static_cast<std::size_t>(outlier.channel * columns + column)] *= outlier.factor;
  }
}

void shrink_column(FloatTensor& matrix, const Outlier& outlier) {
  const std::int64_t columns = matrix.shape[1];
  for (std::int64_t row = 0; row < matrix.shape[0]; ++row) {
    matrix.values[static_cast<std::size_t>(row * columns + outlier.channel)] /= outlier.factor;
  }
}

void grow_norm(Tensors& tensors, const NormSpec& norm, NormKind kind,
               std::span<const LinearSpec* const> readers, Choice& choice) {
  for (const Outlier& outlier : choice.outliers(norm.width)) {
    scale_row(tensors.at(norm.name + ".weight"), outlier);
    if (kind == NormKind::layer) scale_row(tensors.at(norm.name + ".bias"), outlier);
    for (const LinearSpec* reader : readers) {
      shrink_column(tensors.at(reader->name + ".weight"), outlier);
    }
  }
}

void grow_block(Tensors& tensors, const BlockSpec& block, NormKind kind, Choice& choice) {
  const LinearSpec* const attention[] = {&block.q, &block.k, &block.v};
  const LinearSpec* const ffn[] = {&*block.gate, &block.up};
  grow_norm(tensors, block.attention_norm, kind, attention, choice);
  grow_norm(tensors, block.ffn_norm, kind, ffn, choice);
  for (const std::int64_t row : choice.channels(block.up.out)) {
    const Outlier outlier{row, kUpFactor};
    scale_row(tensors.at(block.up.name + ".weight"), outlier);
    if (block.up.bias) scale_row(tensors.at(block.up.name + ".bias"), outlier);
    shrink_column(tensors.at(block.down.name + ".weight"), outlier);
  }
}

// Every tensor as float32; those of the blocks are checked for the shapes that config.json says.
Result<Tensors> read_tensors(const Checkpoint& checkpoint, const ModelSpec& model) {
  std::map<std::string, std::vector<std::int64_t>> expected;
  for (std::int64_t index = 0; index < model.blocks; ++index) {
    const BlockSpec block = model.block(index);
    for (const LinearSpec* linear : block.linears()) {
      expected[linear->name + ".weight"] = {linear->out, linear->in};
      if (linear->bias) expected[linear->name + ".bias"] = {linear->out};
    }
    for (const NormSpec* norm : block.norms()) expected[norm->name + ".weight"] = {norm->width};
  }
  for (const auto& [name, shape] : expected) {
    if (const auto there = checkpoint.tensor(name); !there) return there.error();
  }
  Tensors tensors;
  for (const std::string& name : checkpoint.names()) {
    const auto known = expected.find(name);
    auto shape = known != expected.end() ? known->second : checkpoint.tensor(name)->info->shape;
    auto values = checkpoint.floats(name, shape);
    if (!values) return std::move(values).error();
    tensors[name] = {std::move(shape), std::move(*values)};
  }
  return tensors;
}

Status write_tensors(const Tensors& tensors, const Path& path) {
  std::vector<TensorToWrite> list;
  for (const auto& [name, tensor] : tensors) {
    list.push_back({.name = name,
                    .dtype = DType::f32,
                    .shape = tensor.shape,
                    .bytes = std::as_bytes(std::span(tensor.values))});
  }
  return write_safetensors(real_file_system(), path, list);
}

Status copy_companions(const Path& source, const Path& output) {
  FileSystem& files = real_file_system();
  for (const char* name : kCompanions) {
    if (!files.exists(source / name)) continue;
    const auto content = files.read(source / name, kCompanionLimit);
    if (!content) return content.error();
    if (Status written = write_whole(files, output / name, *content); !written) return written;
  }
  return {};
}

}  // namespace

Status write_outlier_model(const Path& source, const Path& output, std::uint64_t seed) {
  FileSystem& files = real_file_system();
  const auto checkpoint = Checkpoint::open(files, source);
  if (!checkpoint) return checkpoint.error();
  const auto model = read_model_spec(checkpoint->config());
  if (!model) return model.error();
  if (checkpoint->config().contains("quantization_config")) {
    return bad_input("outliers/packed",
                     source.string() + ": is quantized, expected a float checkpoint");
  }
  if (!model->gated) {
    return bad_input("outliers/no-gate", source.string() + ": " + model->architecture +
                                             " has no gate, expected a family like LLaMA");
  }
  auto tensors = read_tensors(*checkpoint, *model);
  if (!tensors) return std::move(tensors).error();
  Choice choice(seed);
  for (std::int64_t index = 0; index < model->blocks; ++index) {
    grow_block(*tensors, model->block(index), model->norm, choice);
  }
  if (Status made = files.make_folders(output); !made) return made;
  if (Status written = write_tensors(*tensors, output / "model.safetensors"); !written) {
    return written;
  }
  if (Status copied = copy_companions(source, output); !copied) return copied;
  OrderedJson config = checkpoint->config();
  if (config.contains("dtype")) config["dtype"] = "float32";
  config["torch_dtype"] = "float32";
  return write_whole(files, output / "config.json", config.dump(2) + "\n");
}

}  // namespace lowbit::test
