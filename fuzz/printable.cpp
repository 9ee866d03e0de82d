// What a box wrote, on the way to somebody's terminal: nothing that drives it gets by, and what has
// been through once is not changed by a second time.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cli/text.h"

namespace {

using namespace hako::cli;

void require(bool holds) {
  if (!holds) std::abort();
}

bool drives_a_terminal(std::string_view text, bool with_layout) {
  for (size_t i = 0; i < text.size(); ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    if (with_layout && (byte == '\n' || byte == '\t')) continue;
    if (byte < 0x20 || byte == 0x7f) return true;
    // The controls of U+0080 to U+009F, as UTF-8 has them.
    if (byte == 0xc2 && i + 1 < text.size()) {
      auto next = static_cast<unsigned char>(text[i + 1]);
      if (next >= 0x80 && next < 0xa0) return true;
    }
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string shown = printable(text), field = printable_field(text);
  require(!drives_a_terminal(shown, true) && !drives_a_terminal(field, false));
  require(printable(shown) == shown && printable_field(field) == field);
  int status = passed_exit_status(-1, false, text);
  require(status >= 0 && status <= 255);
  return 0;
}
