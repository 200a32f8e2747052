// `--kv TYPE` of the subcommands that keep keys and values.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <string>

#include "kernels/kv_page.h"

namespace lowbit {

struct KvOption {
  std::string name;

  void declare(CLI::App& app, KvType standard) {
    name = name_of(standard);
    app.add_option("--kv", name, "Keys and values are kept as f32, f16, int8 or int4")
        ->type_name("TYPE")
        ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}))
        ->capture_default_str();
  }
  KvType type() const { return *kv_type_named(name); }  // checked while parsing
};

}  // namespace lowbit
