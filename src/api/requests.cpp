#include "api/requests.h"

#include "api/template_names.h"

#include <algorithm>

namespace hako::api {
namespace json = boost::json;
using std::chrono::seconds;

namespace {

/// Far more than any operator allows, and far from overflow when added to a time.
constexpr int64_t kLongestSeconds = int64_t(10) * 366 * 24 * 3600;
constexpr int64_t kLargestMib = 1 << 24;
constexpr int64_t kMostVcpus = 1024;
constexpr size_t kLongestReference = 256;
constexpr size_t kLongestTemplateName = 64;
constexpr seconds kDefaultTimeoutV1{15};
constexpr seconds kDefaultTimeoutV2{300};
constexpr seconds kDefaultRefresh{15};
constexpr int64_t kMostForks = 100;

constexpr size_t kMostSteps = 200;
constexpr size_t kLongestCommand = 64 << 10;
constexpr size_t kLongestUser = 32;

bool is_present(const json::object& object, std::string_view name) {
  auto found = object.if_contains(json::string_view(name.data(), name.size()));
  if (!found || found->is_null()) return false;
  if (const json::object* members = found->if_object()) return !members->empty();
  if (const json::array* items = found->if_array()) return !items->empty();
  return true;
}

void check_unsupported(FieldReader& reader, const json::object& body) {
  reader.object("mcp");
  if (const json::object* iam = reader.object("iam"); iam && is_present(*iam, "tokens")) {
    reader.fail("iam.tokens", "are not supported by this server", ErrorCode::unsupported);
  }
  if (reader.array("volumeMounts") && is_present(body, "volumeMounts")) {
    reader.fail("volumeMounts", "are not supported by this server", ErrorCode::unsupported);
  }
}

void check_environment(FieldReader& reader, const TextPairs& environment) {
  for (const auto& [name, value] : environment) {
    if (name.find('=') != std::string::npos) {
      reader.fail("envVars." + name, "must not have '=' in its name");
    }
  }
}

}  // namespace

bool is_template_name(std::string_view name) {
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !name.empty() && name.size() <= kLongestTemplateName && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), allowed);
}

Result<CreateRequest> parse_create(std::string_view body, Generation generation) {
  if (body.empty())
    return Error(ErrorCode::invalid_argument, "the body must be a JSON object with a templateID");
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  bool first = generation == Generation::v1;
  CreateRequest request;
  auto reference = reader.text("templateID", kLongestReference);
  if (reference && reference->empty()) reader.fail("templateID", "must not be empty");
  seconds default_timeout = first ? kDefaultTimeoutV1 : kDefaultTimeoutV2;
  request.timeout =
      seconds(reader.number("timeout", 1, kLongestSeconds).value_or(default_timeout.count()));
  request.metadata = reader.texts("metadata", kMetadataLimits).value_or(TextPairs());
  request.environment = reader.texts("envVars", kEnvironmentLimits).value_or(TextPairs());
  check_environment(reader, request.environment);
  bool secure = reader.flag("secure").value_or(true);
  request.secure = !first || secure;
  request.memory_mib = reader.number("memoryMB", 1, kLargestMib);
  request.vcpus = reader.number("cpuCount", 1, kMostVcpus);
  request.options = read_options(reader, request.metadata);
  request.label = read_labels(reader, request.metadata);
  request.secrets = read_secret_names(reader, request.metadata);
  request.options.timeout_s = request.timeout.count();
  check_unsupported(reader, object);
  // Last: what is wrong says more than what is not there.
  if (!reference) reader.fail("templateID", "is required");
  HAKO_TRYV(reader.outcome());
  request.template_reference = *reference;
  return request;
}

Result<seconds> parse_timeout(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  auto timeout = reader.number("timeout", -kLongestSeconds, kLongestSeconds);
  HAKO_TRYV(reader.outcome());
  if (!timeout) return Error(ErrorCode::invalid_argument, "timeout is required");
  return seconds(std::max<int64_t>(0, *timeout));
}

Result<seconds> parse_refresh(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  auto duration = reader.number("duration", 0, kLongestSeconds);
  HAKO_TRYV(reader.outcome());
  return seconds(duration.value_or(kDefaultRefresh.count()));
}

Result<ForkRequest> parse_fork(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  ForkRequest request;
  auto timeout = reader.number("timeout", 1, kLongestSeconds);
  request.timeout = seconds(timeout.value_or(kDefaultTimeoutV1.count()));
  request.count = int(reader.number("count", 1, kMostForks).value_or(1));
  HAKO_TRYV(reader.outcome());
  return request;
}

Result<bool> parse_pause(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  bool with_memory = reader.flag("memory").value_or(true);
  HAKO_TRYV(reader.outcome());
  return with_memory;
}

Result<std::string> parse_snapshot(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  std::string name = reader.text("name", kLongestReference).value_or("");
  HAKO_TRYV(reader.outcome());
  if (name.empty()) return name;
  auto reference = parse_template_reference(name);
  if (!reference) return reference.error().with_context("name");
  return reference.value().name + ":" +
         reference.value().tag.value_or(std::string(kDefaultTag));
}

Result<std::string> parse_rollback(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  std::string snapshot = reader.text("snapshotID", kLongestReference).value_or("");
  if (snapshot.empty()) reader.fail("snapshotID", "is required");
  HAKO_TRYV(reader.outcome());
  return snapshot;
}

Result<ConnectRequest> parse_connect(std::string_view body, Generation generation) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  ConnectRequest request;
  auto timeout = reader.number("timeout", -kLongestSeconds, kLongestSeconds);
  request.with_memory = reader.flag("memory");
  HAKO_TRYV(reader.outcome());
  if (!timeout && generation == Generation::v1) {
    return Error(ErrorCode::invalid_argument, "timeout is required");
  }
  request.timeout = seconds(std::max<int64_t>(0, timeout.value_or(kDefaultTimeoutV2.count())));
  return request;
}

Result<ConnectRequest> parse_resume(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  ConnectRequest request;
  auto timeout = reader.number("timeout", 1, kLongestSeconds);
  request.timeout = seconds(timeout.value_or(kDefaultTimeoutV1.count()));
  request.with_memory = reader.flag("memory");
  HAKO_TRYV(reader.outcome());
  return request;
}

Result<TemplateRequest> parse_template(std::string_view body, const std::string& default_template) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  TemplateRequest request;
  request.name = reader.text("name", kLongestTemplateName).value_or("");
  request.from = reader.text("from", kLongestTemplateName).value_or(default_template);
  constexpr std::string_view kForm = "must be 1 to 64 characters of a-z, 0-9, '-' and '_'";
  if (!is_template_name(request.name)) reader.fail("name", kForm);
  if (!is_template_name(request.from)) reader.fail("from", kForm);
  request.memory_mib = reader.number("memoryMB", 1, kLargestMib);
  request.vcpus = reader.number("cpuCount", 1, kMostVcpus);
  request.disk_mib = reader.number("diskMB", 1, kLargestMib);
  request.label = read_label(reader).value_or(request.label);
  const json::array* steps = reader.array("steps");
  if (steps && steps->size() > kMostSteps) {
    reader.fail("steps", "must have at most " + std::to_string(kMostSteps) + " entries");
    steps = nullptr;
  }
  for (size_t i = 0; steps && i < steps->size(); ++i) {
    std::string name = "steps[" + std::to_string(i) + "]";
    const json::object* fields = (*steps)[i].if_object();
    if (!fields) {
      reader.fail(name, "must be an object");
      break;
    }
    FieldReader inner(*fields, name + ".");
    TemplateStep step;
    step.command = inner.text("cmd", kLongestCommand).value_or("");
    if (step.command.empty()) inner.fail("cmd", "must be a command");
    step.user = inner.text("user", kLongestUser);
    reader.merge(inner);
    request.steps.push_back(std::move(step));
  }
  HAKO_TRYV(reader.outcome());
  return request;
}

}  // namespace hako::api
