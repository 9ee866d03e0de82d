// Inside src/api only: what the node is asked about boxes, what it answers, and what users are told
// of sandboxes in the wrong state. Pure.
#pragma once

#include <boost/json.hpp>

#include <chrono>
#include <string>

#include "api/sandbox_options.h"
#include "base/result.h"
#include "config/config.h"
#include "policy/limits.h"
#include "store/store.h"

namespace hako::api {

inline constexpr std::chrono::seconds kNodeCreateDeadline{50};
inline constexpr std::chrono::seconds kNodeShortDeadline{10};
/// The node writes a sandbox's memory to disk, and answers when it is there.
inline constexpr std::chrono::seconds kCheckpointDeadline{120};

/// `tenant`: that of the record, which the node compares once more; empty: there is no record.
boost::json::object box_only(const std::string& id, const std::string& tenant);
/// What box.create and each child of box.fork say alike: whose it is, how it is reached, what it may
/// reach, when it ends and what becomes of it then.
boost::json::object described_box(const store::SandboxRecord& record,
                                  const SandboxOptions& options);
/// The answer to box.create. corrupted when it is not one.
Result<store::Started> read_started(const boost::json::object& body);
/// The same of one child of box.fork, which may also be an error.
Result<store::Started> read_child(const boost::json::value& child);
/// Writes what the node has answered into the record, which runs.
void take_started(store::SandboxRecord& record, const store::Started& started);

/// Whether the node may have done all the same what it was asked: its answer did not come.
bool is_ambiguous(const Error& error);

Error sandbox_not_found(const std::string& id);
/// failed_precondition, in words that fit what the sandbox is doing.
Error wrong_state(const std::string& id, store::SandboxState state);

/// A refusal by policy, with the field of the request that it is about.
Error refused_field(const policy::Decision& decision);
policy::BoxLimits limits_of(const config::Config& config);

}  // namespace hako::api
