// Texts of strangers as they stand in a record. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hako::audit {

/// Appends `text` as a quoted JSON string of printable ASCII alone: all else is escaped, and a byte
/// that is not UTF-8 becomes U+FFFD. So a line is a line for every program that reads it, and no
/// terminal obeys it. Of what is longer than `longest` bytes the beginning is kept, and
/// "...[N bytes]" is put behind it. `whole`: the bytes there were, if `text` is only a beginning.
void append_quoted(std::string& out, std::string_view text, size_t longest, size_t whole = 0);

/// `text` with "***" in the place of what has the form of a secret: keys and tokens of ours (e2b_
/// and hex digits) and of some well-known services, values of headers such as Authorization, of
/// names such as password, token or api_key, and passwords in URLs. A best effort, for command
/// lines: a secret that looks like any other word is not found. Only the first `most` bytes are
/// looked at and kept.
std::string mask_secrets(std::string_view text, size_t most);

}  // namespace hako::audit
