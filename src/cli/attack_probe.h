// The attacks that `hako attack` runs in a box: the program in tests/attack/probe.
#pragma once

#include <span>
#include <string_view>

namespace hako::cli {

struct ProbeFile {
  std::string_view name;  ///< within its folder
  std::string_view text;
};

/// The files of the program, which Python runs as a folder.
std::span<const ProbeFile> attack_probe();

}  // namespace hako::cli
