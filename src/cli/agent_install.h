// The program that installs agents in boxes: agent_install.py.
#pragma once

#include <string_view>

namespace hako::cli {

std::string_view agent_installer();

}  // namespace hako::cli
