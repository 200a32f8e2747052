// Text from files and arguments on its way to a terminal: control bytes are shown as \xNN, so that
// a name in a hostile file cannot move the cursor or change colours. Line breaks stay.
#pragma once

#include <string>
#include <string_view>

namespace lowbit {

std::string printable(std::string_view text);

}  // namespace lowbit
