// The authority of this machine's own that the gate's certificates come from, where programs look for
// it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hako::guest {

/// One certificate in PEM and nothing else, at most 8 KiB.
bool is_certificate(std::string_view text);

/// Where the certificate alone is, for programs that take one beside their own.
inline constexpr char kAuthorityFile[] = "/run/hako/authority.pem";

/// What boot does so that install_authority() is quick in each copy of the machine: the system's list
/// of authorities becomes the machine's own file.
void prepare_trust();

/// Puts it behind the system's list, in the place of the one that is there from before; where
/// OpenSSL looks by name; where update-ca-certificates finds it; and into Java's list, if there is Java.
/// What cannot be written is logged: whatever is in the way has been put there by the image or in the
/// box, and harms nobody else.
void install_authority(std::string_view certificate);

/// For programs that do not look at the system's list by themselves.
std::vector<std::pair<std::string, std::string>> trust_variables();

/// The text with `certificate` behind it, or in the place of the one that this has put there before;
/// a part of install_authority() without I/O. `tail` is the end of the list, or all of it; the answer
/// is how much of it stays, and what follows then.
struct NewEnd {
  size_t kept = 0;
  std::string added;
};
NewEnd end_of_list(std::string_view tail, std::string_view certificate);

}  // namespace hako::guest
