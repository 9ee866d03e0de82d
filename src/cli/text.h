// Text for people: tables, sizes, and strings a stranger wrote.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hako::cli {

/// Left-aligned columns two spaces apart, a line per row, nothing behind the last column. The first
/// row is the heading.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

/// `text` with every control character but newline and tab written as \xNN, so that what a box
/// wrote cannot drive the terminal. Bytes of UTF-8 pass, C1 controls in it do not.
std::string printable(std::string_view text);
/// As printable(), with newline and tab escaped too: for one field of a line.
std::string printable_field(std::string_view text);

/// "812 B", "1.2 KiB", "200 MiB".
std::string format_bytes(uint64_t bytes);

/// The exit status hako passes on for how a command in a box ended, as a shell has it: 128 + number
/// for a signal. `status` is the guest's text, such as "signal: killed" or "exit status 3".
int passed_exit_status(int exit_code, bool exited, std::string_view status);

}  // namespace hako::cli
