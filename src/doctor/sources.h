// Reading the machine's own account of itself.
#pragma once

#include <optional>
#include <string>

#include "doctor/checks.h"

namespace hako::doctor {

/// The text of `path` below the sources' root without its last newline; nothing if unreadable.
std::optional<std::string> read_text(const Sources& sources, const std::string& path);
std::optional<int64_t> read_number(const Sources& sources, const std::string& path);

Check passed(std::string id, std::string title, std::string detail);
Check warned(std::string id, std::string title, std::string detail, std::string fix);
Check failed(std::string id, std::string title, std::string detail, std::string fix);
Check skipped(std::string id, std::string title, std::string detail);

}  // namespace hako::doctor
