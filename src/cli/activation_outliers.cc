#include "cli/activation_outliers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "cli/output.h"
#include "cli/table.h"

namespace lowbit {
namespace {

// "model.layers.3.self_attn.{q,k,v}_proj" would hide names from a search; the first one and the
// rest's last parts do not.
std::string names_of(const InputRange& range) {
  std::string text = range.linears.front();
  for (std::size_t i = 1; i < range.linears.size(); ++i) {
    text += " " + range.linears[i].substr(range.linears[i].rfind('.') + 1);
  }
  return text;
}

}  // namespace

Outliers outliers_of(const InputRange& range) {
  const std::vector<float>& largest = range.channel_max;
  Outliers outliers;
  if (largest.empty()) return outliers;
  std::vector<std::size_t> order(largest.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t left, std::size_t right) {
    return largest[left] > largest[right];
  });
  outliers.largest = largest[order.front()];
  outliers.median = largest[order[order.size() / 2]];
  if (outliers.median > 0) {
    outliers.ratio = static_cast<double>(outliers.largest) / static_cast<double>(outliers.median);
  }
  order.resize(std::min(order.size(), Outliers::kShown));
  outliers.channels = std::move(order);
  return outliers;
}

std::string outliers_table(const std::vector<InputRange>& ranges) {
  Table table({{"input of"},
               {"largest |x|", Align::right},
               {"median channel", Align::right},
               {"ratio", Align::right},
               {"largest channels"}});
  for (const InputRange& range : ranges) {
    const Outliers outliers = outliers_of(range);
    table.add({names_of(range), fmt::format("{:.3f}", outliers.largest),
               fmt::format("{:.3f}", outliers.median), fmt::format("{:.1f}", outliers.ratio),
               fmt::format("{}", fmt::join(outliers.channels, " "))});
  }
  return table.render();
}

OrderedJson outliers_json(const std::vector<InputRange>& ranges) {
  OrderedJson list = OrderedJson::array();
  for (const InputRange& range : ranges) {
    const Outliers outliers = outliers_of(range);
    list.push_back({{"linears", range.linears},
                    {"largest", number_or_null(outliers.largest)},
                    {"median_channel", number_or_null(outliers.median)},
                    {"ratio", number_or_null(outliers.ratio)},
                    {"largest_channels", outliers.channels},
                    {"channel_max", range.channel_max}});
  }
  return list;
}

}  // namespace lowbit
