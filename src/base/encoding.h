// Hex, base64 (RFC 4648) and percent encoding.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hako {

/// The text with every byte that is not part of valid UTF-8 (RFC 3629) replaced by '?'. For text of
/// strangers that must travel in JSON, which carries Unicode only.
std::string valid_utf8(std::string text);

std::string hex_encode(std::string_view bytes);
std::optional<std::string> hex_decode(std::string_view text);

/// With padding.
std::string base64_encode(std::string_view bytes);
/// Appends to `out`, for streams that reuse their buffer.
void base64_append(std::string& out, std::string_view bytes);
/// Accepts the standard and the URL-safe alphabet, padded or not, as proto3 JSON requires.
/// Nothing for any other character, a wrong length or stray bits at the end.
std::optional<std::string> base64_decode(std::string_view text);

/// Decodes %XX, and '+' as a space where `plus_is_space`. Nothing for a broken escape.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);
/// Escapes everything but RFC 3986 unreserved characters.
std::string percent_encode(std::string_view text);

}  // namespace hako
