// Unicode normalisation forms and lower case, in time linear in the text but for sorting.
#pragma once

#include <string>
#include <string_view>

namespace lowbit {

enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

// `text` is valid UTF-8.
std::string in_form(std::string_view text, UnicodeForm form);
std::string lowercase(std::string_view text);  // each character by itself

}  // namespace lowbit
