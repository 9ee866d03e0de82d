// Java's list of authorities, which is a file of its own kind.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::guest {

/// A list of trusted certificates as Java reads it (JKS, version 2), of all certificates in a PEM
/// text. Its check sum is left out: Java looks at it only where somebody gives a password, and there
/// is none for a list that everybody may read. Pure. corrupted for text with a broken certificate.
Result<std::string> java_list(std::string_view pem);

/// Writes that of the file `list` where java_options() says. Nothing where there is no Java.
Result<void> install_in_java(const char* list);
/// What tells Java where it is; empty where there is no Java.
std::string java_options();

}  // namespace hako::guest
