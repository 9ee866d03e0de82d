// Unpredictable bytes from the kernel.
#pragma once

#include <cstddef>
#include <string>

namespace hako {

/// `count` bytes from getrandom(2). Cannot fail once the kernel's pool is up.
std::string random_bytes(size_t count);
/// 2*`bytes` lower-case hex digits.
std::string random_hex(size_t bytes);
/// `length` characters of [a-z0-9], each uniformly chosen (rejection sampling).
std::string random_lower_alphanumeric(size_t length);
/// A random (version 4) UUID, RFC 4122 text form.
std::string random_uuid();

}  // namespace hako
