// A handler of nlohmann's parser events that builds the value itself: the library's own builder
// keeps the last of two equal keys, nests without bound, and is quadratic in the keys of an object
// that keeps their order.
#include "io/json.h"

#include <fmt/format.h>

#include <cstdint>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "io/limits.h"

namespace lowbit {
namespace {

constexpr int kNumberOutOfRange = 406;  // nlohmann's number for a float that does not fit

template <typename Value>
class Builder {
 public:
  using number_integer_t = typename Value::number_integer_t;
  using number_unsigned_t = typename Value::number_unsigned_t;
  using number_float_t = typename Value::number_float_t;
  using string_t = typename Value::string_t;
  using binary_t = typename Value::binary_t;

  bool null() { return put(nullptr) != nullptr; }
  bool boolean(bool value) { return put(value) != nullptr; }
  bool number_integer(number_integer_t value) { return put(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) { return put(value) != nullptr; }
  bool number_float(number_float_t value, const string_t&) { return put(value) != nullptr; }
  bool string(string_t& value) { return put(std::move(value)) != nullptr; }
  bool binary(binary_t&) { return false; }  // not in JSON text

  bool start_object(std::size_t) { return open(Value::object()); }
  bool start_array(std::size_t) { return open(Value::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(string_t& name) {
    Level& level = levels_.back();
    if (!level.keys.insert(name).second) {
      return refuse("json/duplicate-key",
                    fmt::format("key '{}' stands twice in one object; a file like this means "
                                "different things to different readers: make it anew",
                                name));
    }
    auto& members = *level.value->template get_ptr<typename Value::object_t*>();
    if constexpr (std::is_same_v<Value, OrderedJson>) {
      // As a vector: its own insertion looks through all keys before it.
      using Members = std::vector<typename Value::object_t::value_type>;
      slot_ = &static_cast<Members&>(members).emplace_back(std::move(name), nullptr).second;
    } else {
      slot_ = &members.emplace(std::move(name), nullptr).first->second;
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& cause) {
    if (cause.id == kNumberOutOfRange) {
      return refuse("json/number", fmt::format("byte {}: a number is larger than a double holds; "
                                               "correct it or fetch the file again",
                                               position));
    }
    return refuse("json/syntax",
                  fmt::format("byte {}: not JSON in UTF-8 ({}); correct it or fetch the file again",
                              position, detail(cause.what())));
  }

  Result<Value> result(bool parsed) {
    if (error_) return *std::move(error_);
    CHECK(parsed);
    return std::move(root_);
  }

 private:
  struct Level {
    Value* value;
    std::set<std::string> keys;
  };

  // Without the library's own prefix "[json.exception.parse_error.101] parse error at ...: ".
  static std::string detail(const std::string& what) {
    const auto colon = what.find(": ");
    return colon == std::string::npos ? what : what.substr(colon + 2);
  }

  bool refuse(std::string code, std::string message) {
    if (!error_) error_ = bad_input(std::move(code), std::move(message));
    return false;
  }

  // Puts a value where the next one belongs: below the last key, behind the last element.
  template <typename Content>
  Value* put(Content&& content) {
    if (++values_ > kMaxJsonValues) {
      refuse("json/too-large", fmt::format("more than {} values, the most that is read; check that "
                                           "it is the file that was meant",
                                           kMaxJsonValues));
      return nullptr;
    }
    if (levels_.empty()) {
      root_ = Value(std::forward<Content>(content));
      return &root_;
    }
    if (Value* slot = std::exchange(slot_, nullptr)) {
      *slot = Value(std::forward<Content>(content));
      return slot;
    }
    auto& elements = *levels_.back().value->template get_ptr<typename Value::array_t*>();
    return &elements.emplace_back(std::forward<Content>(content));
  }

  bool open(Value container) {
    if (levels_.size() == kMaxJsonDepth) {
      return refuse("json/depth", fmt::format("nested more than {} deep, the most that is read; "
                                              "check that it is the file that was meant",
                                              kMaxJsonDepth));
    }
    Value* value = put(std::move(container));
    if (value == nullptr) return false;
    levels_.push_back({value, {}});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  Value root_;
  std::vector<Level> levels_;
  Value* slot_ = nullptr;  // of the key just read
  std::size_t values_ = 0;
  std::optional<Error> error_;
};

template <typename Value>
Result<Value> parse(std::string_view text) {
  try {
    Builder<Value> builder;
    const bool parsed = Value::sax_parse(text.begin(), text.end(), &builder);
    return builder.result(parsed);
  } catch (const std::bad_alloc&) {
    return environment_error(
        "json/no-memory",
        fmt::format("no memory for a JSON text of {} bytes; free memory", text.size()));
  } catch (const nlohmann::json::exception& cause) {
    return bad_input("json/syntax", cause.what());
  }
}

}  // namespace

Result<Json> parse_json(std::string_view text) { return parse<Json>(text); }

Result<OrderedJson> parse_ordered_json(std::string_view text) { return parse<OrderedJson>(text); }

}  // namespace lowbit
