#include "model/model_spec.h"

#include <fmt/format.h>

#include "model/config_reader.h"
#include "model/family.h"

namespace lowbit {
namespace {

// Every family there is; a new one is one line here.
const std::vector<const Family*>& families() {
  static const std::vector<const Family*> kAll = {
      &kLlamaFamily, &kMistralFamily, &kQwen2Family, &kQwen3Family, &kOptFamily,
  };
  return kAll;
}

const Family* find_family(std::string_view architecture) {
  for (const Family* family : families()) {
    if (family->architecture == architecture) return family;
  }
  return nullptr;
}

std::string supported() { return fmt::format("{}", fmt::join(supported_architectures(), ", ")); }

Result<std::string> architecture_of(const OrderedJson& config) {
  const auto none = [](const std::string& found) {
    return bad_input("model/no-architecture",
                     fmt::format("config.json: 'architectures' {}, expected a list with one of {}",
                                 found, supported()));
  };
  if (!config.is_object()) return none("cannot be looked up: the file holds no JSON object");
  const auto at = config.find("architectures");
  if (at == config.end()) return none("is missing");
  if (!at->is_array() || at->empty() || !at->front().is_string()) return none("names none");
  if (at->size() != 1) return none("names several");
  return at->front().get<std::string>();
}

}  // namespace

std::vector<const LinearSpec*> BlockSpec::linears() const {
  std::vector<const LinearSpec*> all = {&q, &k, &v, &o};
  if (gate) all.push_back(&*gate);
  all.push_back(&up);
  all.push_back(&down);
  return all;
}

std::vector<LinearSet> BlockSpec::input_sets() const {
  if (gate) return {{0, 1, 2}, {3}, {4, 5}, {6}};
  return {{0, 1, 2}, {3}, {4}, {5}};
}

std::vector<const NormSpec*> BlockSpec::norms() const {
  std::vector<const NormSpec*> all = {&attention_norm, &ffn_norm};
  if (q_norm) all.push_back(&*q_norm);
  if (k_norm) all.push_back(&*k_norm);
  return all;
}

BlockSpec ModelSpec::block(std::int64_t index) const {
  CHECK(index >= 0 && index < blocks);
  const Family* family = find_family(architecture);
  CHECK(family != nullptr);  // only read_model_spec makes a ModelSpec
  return family->block(*this, index);
}

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (const Family* family : families()) names.emplace_back(family->architecture);
  return names;
}

Result<ModelSpec> read_model_spec(const OrderedJson& config) {
  Result<std::string> architecture = architecture_of(config);
  if (!architecture) return std::move(architecture).error();
  const Family* family = find_family(*architecture);
  if (family == nullptr) {
    return bad_input(
        "model/unsupported-architecture",
        fmt::format("config.json: architecture '{}' is not supported, supported are {}",
                    *architecture, supported()));
  }
  ModelSpec spec;
  spec.architecture = *architecture;
  spec.model_type = std::string(family->model_type);
  ConfigReader reader(config, "config.json");
  // Frameworks choose the class by model_type: where the two disagree, neither can be believed.
  if (reader.text_or("model_type", family->model_type) != family->model_type) {
    reader.bad_value("model_type",
                     fmt::format("'{}' as the architecture says", family->model_type));
  }
  family->read(reader, spec);
  if (Status status = reader.status(); !status) return std::move(status).error();
  return spec;
}

}  // namespace lowbit
