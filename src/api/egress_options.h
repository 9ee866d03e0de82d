// What a request asks for in hako's own words: a label, and what may go out. Pure.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/field_reader.h"
#include "policy/egress.h"
#include "policy/label.h"

namespace hako::api {

/// Beside E2B's network fields, and stricter than these where both are given.
struct EgressOptions {
  std::optional<policy::EgressLevel> level;
  std::vector<std::string> allow;  ///< targets as parse_target() takes them
  std::vector<std::string> deny;

  bool operator==(const EgressOptions&) const = default;
};

/// Keys of metadata that say the same as members of the body, for clients that know only E2B's.
inline constexpr std::string_view kLabelKey = "hako/label";
inline constexpr std::string_view kEgressKey = "hako/egress";
inline constexpr std::string_view kAllowKey = "hako/allow";  ///< targets joined by commas
inline constexpr std::string_view kDenyKey = "hako/deny";
inline constexpr std::string_view kSecretsKey = "hako/secrets";  ///< names joined by commas

/// Takes `egress`, `allow` and `deny` out of a body; what is absent stays as it is in `egress`.
void read_egress(FieldReader& reader, EgressOptions& egress);
/// The same out of a sandbox's metadata.
void read_egress_metadata(FieldReader& reader, const TextPairs& metadata, EgressOptions& egress);

/// `label` of a body. Nothing if it is absent, or wrong, which is left in `reader`.
std::optional<policy::Label> read_label(FieldReader& reader);
/// The high-water mark of `label` in the body and in the metadata.
policy::Label read_labels(FieldReader& reader, const TextPairs& metadata);
/// Names of secrets, of `secrets` in the body and in the metadata together.
std::vector<std::string> read_secret_names(FieldReader& reader, const TextPairs& metadata);

boost::json::object to_json(const EgressOptions& egress);
/// The inverse. What is not ours is left out.
EgressOptions parse_egress_options(const boost::json::object& fields);

}  // namespace hako::api
