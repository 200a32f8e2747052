#include "text/metaspace.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace lowbit {
namespace {

Result<Metaspace::Prepend> read_prepend(const JsonPart& part) {
  const auto adds = bool_field(part, "add_prefix_space", true);  // the older spelling
  if (!adds) return adds.error();
  const auto scheme = string_field(part, "prepend_scheme", *adds ? "always" : "never");
  if (!scheme) return scheme.error();
  if (!*adds && *scheme != "never") {
    return syntax_error(
        fmt::format("{}: \"add_prefix_space\" is false, \"prepend_scheme\" is "
                    "'{}'; expected 'never'",
                    part.name, scheme->substr(0, 80)));
  }
  if (*scheme == "always") return Metaspace::Prepend::always;
  if (*scheme == "first") return Metaspace::Prepend::first;
  if (*scheme == "never") return Metaspace::Prepend::never;
  return unsupported(fmt::format("{}: prepend_scheme '{}'", part.name, scheme->substr(0, 80)),
                     "always, first, never");
}

}  // namespace

Result<Metaspace> read_metaspace(const JsonPart& part) {
  Metaspace options;
  auto replacement = string_field(part, "replacement", options.replacement);
  if (!replacement) return std::move(replacement).error();
  if (replacement->empty() || code_point_at(*replacement, 0).size != replacement->size()) {
    return syntax_error(part.name + ": \"replacement\" is not one character");
  }
  options.replacement = *std::move(replacement);
  const auto prepend = read_prepend(part);
  if (!prepend) return prepend.error();
  options.prepend = *prepend;
  const auto split = bool_field(part, "split", true);
  if (!split) return split.error();
  options.split = *split;
  return options;
}

}  // namespace lowbit
