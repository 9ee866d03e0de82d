// What a guest needs to know of the authority of its box; the api makes it, the guest installs it.
#pragma once

#include <string_view>

namespace hako::wire {

/// The name that every box's authority bears. One for all, so that the file under which OpenSSL looks
/// for it has one name, too; which box's it is its key says.
inline constexpr std::string_view kAuthorityOrganization = "hako";
inline constexpr std::string_view kAuthorityName = "hako box authority";

/// OpenSSL's hash of that name, and the end of the first file with it.
inline constexpr std::string_view kAuthorityLink = "4df0ea49.0";

}  // namespace hako::wire
