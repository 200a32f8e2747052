// `--kv TYPE` of the subcommands that keep keys and values. Without it they are kept as the model
// says, else as the subcommand's standard.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <string>

#include "runtime/reference_model.h"

namespace lowbit {

class KvOption {
 public:
  void declare(CLI::App& app, KvType standard) {
    standard_ = standard;
    app.add_option("--kv", given_,
                   "Keys and values are kept as f32, f16, int8 or int4; else as the model says")
        ->type_name("TYPE")
        ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}))
        ->default_str(std::string(name_of(standard)));
  }
  KvType type() const { return given_.empty() ? standard_ : *kv_type_named(given_); }  // checked
  KvType type(const ReferenceModel& model) const {
    return given_.empty() ? model.kv_cache().value_or(standard_) : type();
  }

 private:
  std::string given_;
  KvType standard_ = KvType::f16;
};

}  // namespace lowbit
