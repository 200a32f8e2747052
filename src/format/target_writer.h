// Module names as a few readable targets: "re:model\.layers\.(0|1|31)\.(mlp\.up_proj|...)$" for
// names with a block number, the name itself for others. Each name matches exactly one target.
#pragma once

#include <string>
#include <vector>

namespace lowbit {

std::vector<std::string> compact_targets(const std::vector<std::string>& names);

}  // namespace lowbit
