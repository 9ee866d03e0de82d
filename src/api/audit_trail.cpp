#include "api/audit_trail.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "api/keys.h"
#include "audit/verify.h"
#include "base/clock.h"
#include "base/log.h"

namespace hako::api {
namespace json = boost::json;
using namespace std::chrono_literals;
using audit::Record;

namespace {

constexpr size_t kLongestFields = 1024;
/// Members of a body whose own members are named, too: they are rules. Of all others, such as
/// environments and metadata, the members' names are a stranger's text.
constexpr std::string_view kRules[] = {"policy",    "quota",  "network", "egress",
                                       "narrowing", "leaves", "limits"};
/// What names a thing that a call has made, in its answer.
constexpr std::string_view kNames[] = {"templateID", "buildID", "linkID", "keyID",
                                       "tokenID",    "name",    "alias",  "snapshotID",
                                       "secretID"};
constexpr size_t kLongestAnswerRead = 64 << 10;

bool changes(http::Verb method) {
  return method != http::Verb::get && method != http::Verb::head;
}

std::string outcome_of(unsigned status) {
  if (status < 400) return "ok";
  return status == 401 || status == 403 || status == 429 ? "denied" : "failed";
}

json::object object_in(const std::string& body) {
  if (body.empty() || body.size() > kLongestAnswerRead) return {};
  boost::system::error_code error;
  auto value = json::parse(body, error);
  if (error || !value.is_object()) return {};
  return std::move(value.get_object());
}

std::string text_in(const json::object& object, std::string_view name) {
  auto* value = object.if_contains(name);
  auto* text = value ? value->if_string() : nullptr;
  return text ? std::string(*text) : std::string();
}

/// The parameters of a path by their names, but for the sandbox, which has a place of its own.
void add_parameters(Record& record, const Match& match) {
  std::string_view pattern = match.route->pattern;
  for (const std::string& value : match.parameters) {
    size_t begin = pattern.find('{');
    size_t end = pattern.find('}', begin);
    if (begin == std::string_view::npos || end == std::string_view::npos) return;
    std::string_view name = pattern.substr(begin + 1, end - begin - 1);
    if (name == "sandboxID") {
      record.sandbox = value;
    } else {
      record.details.emplace_back(name, value);
    }
    pattern.remove_prefix(end + 1);
  }
}

/// Something that came from the box's side of the gate.
void add_number(Record& record, std::string_view name, int64_t value) {
  if (value != 0) record.details.emplace_back(name, std::to_string(value));
}
void add_text(Record& record, std::string_view name, const std::string& value) {
  if (!value.empty()) record.details.emplace_back(name, value);
}

std::string outcome_of_verdict(const std::string& verdict) {
  if (verdict == "denied") return "denied";
  return verdict == "allowed" || verdict == "ended" ? "ok" : "failed";
}

/// A program without its arguments, of a command line as the gate writes it.
std::string program_of(const std::string& command) {
  return command.substr(0, command.find(' '));
}

/// Whether its details name things that have labels, which this log does not follow as it does those
/// of boxes.
bool names_labelled(std::string_view action) {
  for (std::string_view area : {"template.", "build.", "link.", "secret.", "sandbox.create"}) {
    if (action.starts_with(area)) return true;
  }
  return false;
}

}  // namespace

std::string actor_of(const Principal& who) {
  if (!who.token_id.empty()) return "token " + who.token_id;
  if (who.key_id == kOperatorKey) return "operator";
  return who.key_id.empty() ? "nobody" : "key " + who.key_id;
}

std::string actor_of_key(std::string_view key) {
  if (key.empty()) return "nobody";
  if (key == "api" || key == kOperatorKey) return std::string(key);
  bool is_token = key.find('.') != std::string_view::npos;
  return (is_token ? "token " : "key ") + std::string(key);
}

std::string names_in_body(const std::string& body) {
  std::string names;
  auto add = [&](std::string_view above, std::string_view name) {
    if (names.size() > kLongestFields) return;
    if (!names.empty()) names += ", ";
    if (!above.empty()) names.append(above) += '.';
    names.append(name);
  };
  for (const auto& [key, value] : object_in(body)) {
    std::string_view name(key.data(), key.size());
    bool is_rule = std::find(std::begin(kRules), std::end(kRules), name) != std::end(kRules);
    if (!is_rule || !value.is_object() || value.get_object().empty()) {
      add({}, name);
      continue;
    }
    for (const auto& [inner, ignored] : value.get_object()) add(name, {inner.data(), inner.size()});
  }
  return names;
}

void CallFacts::is_by(const Principal& who) {
  known = true;
  actor = actor_of(who);
  user = who.user;
  tenant = who.tenant;
  agent = who.agent;
  clearance = policy::to_string(who.clearance);
}

Result<std::unique_ptr<audit::Log>> AuditTrail::open_log(const config::Config& config) {
  audit::LogOptions options;
  options.directory = config.audit_dir();
  options.key_file = config.audit_key();
  options.segment_bytes = config.audit_segment_mib << 20;
  options.keep_segments = config.audit_keep_segments;
  options.keep_for = config.audit_keep;
  options.sign_every = config.audit_sign_every;
  return audit::Log::open(std::move(options));
}

AuditTrail::AuditTrail(const config::Config& config, std::unique_ptr<audit::Log> log)
    : config_(config),
      log_(std::move(log)),
      bounds_(config.audit_tenant_mib_per_day),
      opened_at_(log_->last_sequence()) {}

Result<void> AuditTrail::may_begin(const Match& match, const http::RequestHead& head) const {
  bool recorded = !match.route || !match.route->audited.empty();
  if (!recorded || !changes(head.method) || log_->ready()) return ok();
  return Error(ErrorCode::unavailable,
               "the audit log cannot be written, so nothing is changed; try again");
}

Task<Result<void>> AuditTrail::called(const http::RequestHead& head, const Match& match,
                                      CallFacts facts, const http::Response& response) {
  if (match.route && match.route->audited.empty()) co_return ok();
  Record record;
  record.actor = facts.known ? facts.actor : "nobody";
  record.user = std::move(facts.user);
  record.tenant = std::move(facts.tenant);
  record.agent = std::move(facts.agent);
  record.action = match.route ? std::string(match.route->audited) : "api.unknown";
  record.outcome = outcome_of(response.status);
  record.source = std::move(facts.source);
  record.request = std::move(facts.request);
  record.details.emplace_back("method", head.method_text);
  record.details.emplace_back("status", std::to_string(response.status));
  if (match.route) {
    add_parameters(record, match);
  } else {
    record.details.emplace_back("path", head.path());
  }
  add_text(record, "changes", facts.fields);
  add_text(record, "asked_tenant", std::string(head.header("X-Hako-Tenant")));
  bool failed = response.status >= 400;
  if (failed || changes(head.method)) {
    json::object answer = object_in(response.body);
    if (failed) record.reason = text_in(answer, "message");
    if (record.sandbox.empty()) record.sandbox = text_in(answer, "sandboxID");
    for (std::string_view name : kNames) {
      if (!failed) add_text(record, name, text_in(answer, name));
    }
  }
  // Of another tenant's box nothing is known here, and neither that it is there.
  auto box = boxes_.find(record.sandbox);
  if (box != boxes_.end() && box->second.tenant == record.tenant) record.label = box->second.label;
  // What it is about may be as confidential as whoever called may read.
  if (record.label.empty() && names_labelled(record.action)) record.label = facts.clearance;
  if (!facts.known && !admit_unknown(record)) co_return ok();
  // What has changed something is never left out.
  // So may one have that has failed half-way.
  bool broke = response.status >= 500 && response.status != 501 && response.status != 503;
  bool changed = changes(head.method) && (!failed || broke);
  if (facts.known && !changed && !bounds_.admit_call(record, TokenBucket::Time::clock::now())) {
    co_return ok();
  }
  auto written = co_await log_->append(std::move(record));
  if (written) co_return ok();
  co_return Error(ErrorCode::unavailable, "the audit log cannot be written; try again");
}

bool AuditTrail::admit_unknown(const Record& record) {
  auto now = TokenBucket::Time::clock::now();
  // By kind only: of strangers neither boxes nor actions need be told apart.
  Record flood;
  flood.action = "api.flood";
  flood.outcome = "denied";
  flood.source = record.source;
  if (unknown_ >= kMostUnknown) {
    bounds_.leave_out(flood, now);
    return false;
  }
  flood.reason = record.reason;
  flood.details = record.details;
  if (!bounds_.admit_call(flood, now)) return false;
  ++unknown_;
  return true;
}

void AuditTrail::tell_left_out(bool all) {
  for (Record& record : bounds_.summaries(TokenBucket::Time::clock::now(), all)) {
    if (record.details[0].second == "api.flood") {
      record.actor = "nobody";
      record.action = "api.flood";
      record.reason = "calls of nobody known, more than are recorded one by one";
      record.details.erase(record.details.begin());
    }
    log_->append_later(std::move(record));
  }
}

Task<void> AuditTrail::run() {
  for (;;) {
    co_await sleep_for(1s);
    unknown_ = 0;
    tell_left_out(false);
  }
}

void AuditTrail::stop() {
  stopping_ = true;
  tell_left_out(true);
}

Task<void> AuditTrail::verify() {
  audit::Expectation expected;
  expected.up_to = opened_at_;
  expected.stop = &stopping_;
  auto work = [this, &expected] {
    // Of this thread alone.
    (void)::setpriority(PRIO_PROCESS, id_t(::gettid()), 19);
    return audit::verify_log(log_->directory(), log_->public_key(), expected);
  };
  auto verdict = co_await run_blocking(verifying_, work);
  if (!verdict) {
    if (verdict.error().code() == ErrorCode::cancelled) co_return;
    json::object fields;
    fields["error"] = verdict.error().message();
    log_warn("audit log not verified", std::move(fields));
    co_return;
  }
  if (!verdict.value().problem) {
    json::object fields;
    fields["records"] = verdict.value().records;
    log_info("audit log verified", std::move(fields));
    co_return;
  }
  const audit::Problem& problem = *verdict.value().problem;
  json::object fields;
  fields["segment"] = problem.segment;
  fields["line"] = problem.line;
  fields["sequence"] = problem.sequence;
  fields["problem"] = problem.text;
  log_error("audit log damaged", std::move(fields));
  Record record;
  record.actor = "api";
  record.action = "audit.damaged";
  record.outcome = "failed";
  record.reason = std::string(audit::to_string(problem.flaw)) + ": " + problem.text;
  record.details = {{"segment", problem.segment}};
  add_number(record, "line", problem.line);
  add_number(record, "sequence", problem.sequence);
  log_->append_later(std::move(record));
}

void AuditTrail::knows(const store::SandboxRecord& record) {
  boxes_[record.id] = Box{record.tenant, record.agent, record.label, record.started_ms};
}

void AuditTrail::set_time(Record& record, int64_t told_ms) const {
  constexpr int64_t kClocksDiffer = 1000;
  constexpr int64_t kLate = 10'000;
  int64_t now = to_unix_ms(WallClock::now());
  auto box = boxes_.find(record.sandbox);
  int64_t earliest = box == boxes_.end() ? 0 : box->second.started_ms - kClocksDiffer;
  if (told_ms > now + kClocksDiffer || told_ms < earliest || told_ms <= 0) {
    record.time_ms = now;
    record.details.emplace_back("told_ms", std::to_string(told_ms));
    return;
  }
  record.time_ms = told_ms;
  if (told_ms < now - kLate) {
    record.details.emplace_back("arrived", to_rfc3339(from_unix_ms(now)));
  }
}

void AuditTrail::made(const store::SandboxRecord& box) {
  knows(box);
  Record record = about(box.id);
  record.actor = actor_of_key(box.key_id);
  record.action = "box.created";
  record.outcome = "ok";
  record.details = {{"template", box.alias.empty() ? box.template_name : box.alias},
                    {"memory_mib", std::to_string(box.memory_mib)},
                    {"vcpus", std::to_string(box.vcpus)},
                    {"isolation", box.isolation},
                    {"ends", to_rfc3339(from_unix_ms(box.ends_ms))}};
  log_->append_later(std::move(record));
}

void AuditTrail::changed(const store::SandboxRecord& box, const std::string& what) {
  knows(box);
  Record record = about(box.id);
  // By whom the record of the call says; where there was none it was its end, or traffic.
  record.actor = "node";
  record.action = "box." + what;
  record.outcome = "ok";
  if (box.state == store::SandboxState::running) {
    record.details.emplace_back("ends", to_rfc3339(from_unix_ms(box.ends_ms)));
  } else {
    record.details.emplace_back("memory", box.with_memory ? "kept" : "not kept");
  }
  log_->append_later(std::move(record));
}

void AuditTrail::gone(const std::string& box, const std::string& reason,
                      const std::string& detail) {
  Record record = about(box);
  bool plain = reason == "expired" || reason == "died" || reason == "destroyed" ||
               reason == "lost" || reason == "out_of_memory";
  record.actor = "node";
  record.action = plain ? "box." + reason : "box.lost";
  record.outcome = "ok";
  // Why it ended when nobody wanted it to.
  if (reason == "died" || reason == "out_of_memory") record.reason = detail;
  if (!plain) record.reason = reason;
  log_->append_later(std::move(record));
  // What the gate has to tell of it may come later.
  ended_.push_back(box);
  if (ended_.size() < kMostBoxes / 2) return;
  auto some = ended_.begin() + std::ptrdiff_t(ended_.size() / 2);
  for (auto id = ended_.begin(); id != some; ++id) boxes_.erase(*id);
  ended_.erase(ended_.begin(), some);
}

void AuditTrail::label_raised(const store::SandboxRecord& box, policy::Label from,
                              const Principal& who) {
  knows(box);
  Record record = about(box.id);
  record.actor = actor_of(who);
  record.user = who.user;
  record.action = "label.raised";
  record.outcome = "ok";
  record.details = {{"from", std::string(to_string(from))}, {"to", box.label}};
  log_->append_later(std::move(record));
}

void AuditTrail::egress(const std::string& box, const EgressRecord& told) {
  Record record = about(box);
  set_time(record, told.time_ms);
  record.actor = "box " + box;
  record.action = "egress." + (told.kind.empty() ? "dropped" : told.kind);
  if (told.kind == "secret") record.action = "secret.use";
  if (told.kind == "model") record.action = "model.call";
  record.outcome = outcome_of_verdict(told.verdict);
  record.reason = told.rule.empty() ? told.reason : told.rule + ": " + told.reason;
  add_text(record, "verdict", told.verdict);
  add_text(record, "name", told.name);
  add_text(record, "address", told.address);
  add_number(record, "port", told.port);
  add_number(record, "bytes_out", told.bytes_out);
  add_number(record, "bytes_in", told.bytes_in);
  add_number(record, "connection", told.connection);
  if (told.count > 1) add_number(record, "count", told.count);
  tell_of_box(std::move(record));
}

void AuditTrail::tell_of_box(Record record) {
  if (!bounds_.admit_box(record, TokenBucket::Time::clock::now())) return;
  log_->append_later(std::move(record));
}

void AuditTrail::access(const std::string& box, const AccessRecord& told) {
  Record record = about(box);
  set_time(record, told.time_ms);
  record.actor = actor_of_key(told.key);
  std::string kind = told.kind.empty() ? "access" : told.kind;
  record.action = kind + "." + (told.action.empty() ? "dropped" : told.action);
  record.outcome = outcome_of_verdict(told.verdict);
  if (record.outcome == "ok" && told.status >= 400) record.outcome = "failed";
  record.reason = told.reason;
  bool is_command = told.kind == "command";
  bool program_only = is_command && config_.audit_command_lines == "program";
  std::string_view name = is_command ? "command" : told.kind == "port" ? "port" : "path";
  add_text(record, name, program_only ? program_of(told.what) : told.what);
  add_text(record, is_command && told.action == "start" ? "cwd" : "detail", told.detail);
  add_text(record, "guest_user", told.user);
  add_number(record, "status", told.status);
  add_number(record, "bytes", told.bytes);
  if (told.count > 1) add_number(record, "count", told.count);
  tell_of_box(std::move(record));
}

void AuditTrail::turned_away(const http::RequestHead& head, std::string source,
                             const Error& error) {
  Record record;
  record.actor = "nobody";
  record.action = "box.request";
  record.outcome = outcome_of(http::status_of(error.code()));
  record.reason = error.message();
  record.source = std::move(source);
  record.details = {{"method", head.method_text}, {"path", std::string(head.path())}};
  if (!admit_unknown(record)) return;
  log_->append_later(std::move(record));
}

Record AuditTrail::about(const std::string& box) const {
  Record record;
  record.sandbox = box;
  auto found = boxes_.find(box);
  if (found == boxes_.end()) {
    // Whose it was nobody knows: for the operator alone.
    record.label = to_string(policy::Label::secret);
    return record;
  }
  record.tenant = found->second.tenant;
  record.agent = found->second.agent;
  record.label = found->second.label;
  return record;
}

Task<Result<audit::Page>> AuditTrail::read(audit::Query query) {
  auto work = [directory = log_->directory(), query = std::move(query)] {
    return audit::read_page(directory, query);
  };
  co_return co_await run_blocking(reading_, work);
}

}  // namespace hako::api
