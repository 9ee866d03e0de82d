// The program that unpacks image archives, for the box that does it.
#pragma once

#include <string_view>

namespace hako::api {

/// The text of oci_unpack.py.
std::string_view oci_unpack_program();

}  // namespace hako::api
