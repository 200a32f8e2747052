// `--threads N` of the subcommands that compute.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>

#include "base/threads.h"

namespace lowbit {

struct ThreadsOption {
  int threads = 0;

  void declare(CLI::App& app) {
    app.add_option("--threads", threads, "Threads; else one for each processor")
        ->type_name("N")
        ->check(CLI::Range(1, 1024));
  }
  void apply() const {
    if (threads > 0) set_thread_count(threads);
  }
};

}  // namespace lowbit
