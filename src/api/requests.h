// The bodies of requests, checked. Pure: no I/O, no clock.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/field_reader.h"
#include "api/sandbox_options.h"
#include "base/async/task.h"
#include "base/result.h"
#include "policy/permission.h"

namespace hako::api {

/// The two generations of paths that E2B's clients speak; they differ in their defaults.
enum class Generation { v1, v2 };

inline constexpr MapLimits kMetadataLimits{
    .pairs = 64, .key = 256, .value = 4096, .total = 32 << 10};
inline constexpr MapLimits kEnvironmentLimits{
    .pairs = 256, .key = 256, .value = 32 << 10, .total = 128 << 10};

/// A new sandbox as its user asked for it. Limits of the operator are not checked here.
struct CreateRequest {
  std::string template_reference;  ///< as it was written; what it means is looked up
  std::string template_id;         ///< what was found; and its name for the user, and the node's
  std::string template_name;
  std::string node_template;
  std::string checkpoint;  ///< in its place, where it is to go on from a snapshot
  EgressCeilings made_of_under;  ///< and what was left of what may go out of what that was taken of
  policy::TemplateFacts what;
  int64_t template_memory_mib = 0, template_vcpus = 0, template_disk_mib = 0;  ///< 0: unknown
  std::chrono::seconds timeout{0};
  TextPairs metadata;
  TextPairs environment;
  std::vector<std::string> secrets;  ///< names or ids of those that it is to use
  bool secure = true;  ///< the guest wants to see an access token
  policy::Label label = policy::Label::public_data;
  std::optional<int64_t> memory_mib;
  std::optional<int64_t> vcpus;
  SandboxOptions options;
  std::function<Task<void>()> client_gone = {};  ///< ends when whoever asks has hung up; or none
  std::function<void()> queues = {};             ///< called before it waits for its turn; or none
};

/// invalid_argument names the field; unsupported for what this server has not got (identity tokens,
/// volumes): a box must not come without what it was to have; not_found for a template name that
/// no template can have.
Result<CreateRequest> parse_create(std::string_view body, Generation generation);

bool is_template_name(std::string_view name);

/// {"timeout": seconds}, required. Below zero counts as zero.
Result<std::chrono::seconds> parse_timeout(std::string_view body);
/// {"duration"?: seconds}.
Result<std::chrono::seconds> parse_refresh(std::string_view body);
struct ConnectRequest {
  std::chrono::seconds timeout{0};
  std::optional<bool> with_memory;  ///< how a paused one is to go on
};
/// {"timeout": seconds, "memory"?}; the time may be left out in the second generation.
Result<ConnectRequest> parse_connect(std::string_view body, Generation generation);
/// {"timeout"?, "memory"?}. What becomes of it at its end stays as it was.
Result<ConnectRequest> parse_resume(std::string_view body);

/// How a sandbox is to be forked.
struct ForkRequest {
  std::chrono::seconds timeout{0};
  int count = 1;
  std::function<Task<void>()> client_gone = {};  ///< as of CreateRequest
  std::function<void()> queues = {};
};
/// {"timeout"?, "count"?: 1..100}.
Result<ForkRequest> parse_fork(std::string_view body);
/// {"memory"?: bool}: whether its memory is to be kept.
Result<bool> parse_pause(std::string_view body);
/// {"name"?}; empty for none. invalid_argument for one that no template could have.
Result<std::string> parse_snapshot(std::string_view body);
/// {"snapshotID"}.
Result<std::string> parse_rollback(std::string_view body);

struct TemplateStep {
  std::string command;
  std::optional<std::string> user;
};

struct TemplateRequest {
  std::string name;
  std::string from;
  std::optional<int64_t> memory_mib;
  std::optional<int64_t> vcpus;
  std::optional<int64_t> disk_mib;
  std::vector<TemplateStep> steps;
  policy::Label label = policy::Label::public_data;
};

/// Errors: invalid_argument names the field.
Result<TemplateRequest> parse_template(std::string_view body, const std::string& default_template);

}  // namespace hako::api
