// What a call that can fail returns: a value or an Error.
//
// Input, environment and caller mistakes are values of type Error; nothing of ours throws.
// Exceptions of third-party code are caught at its border and turned into Error there. A broken
// invariant is a CHECK (base/check.h), which nothing from outside may reach.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace lowbit {

// The kinds that a caller acts on. The value is the exit status of the program.
enum class ErrorKind {
  usage = 2,          // the command line or a recipe asks for what does not exist
  bad_input = 3,      // a file, text or request is malformed or unsupported
  environment = 4,    // memory, disk, permissions, missing device
  internal = 5,       // a bug of ours
  interrupted = 130,  // stopped by the user; the same command resumes
};

struct Error {
  ErrorKind kind = ErrorKind::internal;
  std::string code;     // one per cause, stable, e.g. "safetensors/overlap": tests ask for it
  std::string message;  // where, what was found, what was expected, what to do; in this order
};

inline Error usage_error(std::string code, std::string message) {
  return {ErrorKind::usage, std::move(code), std::move(message)};
}
inline Error bad_input(std::string code, std::string message) {
  return {ErrorKind::bad_input, std::move(code), std::move(message)};
}
inline Error environment_error(std::string code, std::string message) {
  return {ErrorKind::environment, std::move(code), std::move(message)};
}
inline Error internal_error(std::string code, std::string message) {
  return {ErrorKind::internal, std::move(code), std::move(message)};
}

// The same error with the place in front: within("model.safetensors", e).
inline Error within(const std::string& place, Error error) {
  error.message = place + ": " + error.message;
  return error;
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    CHECK(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    CHECK(ok());
    return std::get<0>(state_);
  }
  // By value: `for (x : call().value())` would otherwise walk through what is gone.
  T value() && {
    CHECK(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    CHECK(!ok());
    return std::get<1>(state_);
  }
  Error&& error() && {
    CHECK(!ok());
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, Error> state_;
};

// A Result without a value: `return {};` is success.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const& {
    CHECK(!ok());
    return error_;
  }
  Error&& error() && {
    CHECK(!ok());
    return std::move(error_);
  }

 private:
  bool failed_ = false;
  Error error_;
};
using Status = Result<void>;

}  // namespace lowbit
