// What an image is called, as Docker reads it. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::api {

/// "python:3.12" is {docker.io, library/python, 3.12, -}.
struct ImageName {
  std::string registry;    ///< host[:port]
  std::string repository;  ///< parts with '/' between them
  std::string tag;         ///< "latest" where the name has neither tag nor digest
  std::string digest;      ///< "sha256:..." or empty; with one, the tag says nothing

  /// "docker.io/library/python:3.12", or with "@sha256:..." where there is a digest.
  std::string text() const;
  /// The same image at exactly this digest.
  std::string text_at(std::string_view digest) const;
};

/// The first part is a registry when it has a '.' or a ':' in it or is "localhost".
/// invalid_argument for everything that is no name of an image, so that what is returned can do no
/// harm in a command line or a URL.
Result<ImageName> parse_image_name(std::string_view text);

/// "sha256:" and 64 lower-case hex digits.
bool is_image_digest(std::string_view text);

}  // namespace hako::api
