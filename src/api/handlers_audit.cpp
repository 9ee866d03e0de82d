// The audit log, for those who may read it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/audit_trail.h"
#include "api/audit_view.h"
#include "api/authority.h"
#include "api/handlers.h"
#include "api/query.h"
#include "audit/line.h"
#include "audit/segments.h"
#include "base/clock.h"
#include "base/encoding.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;
using namespace std::chrono_literals;

namespace {

constexpr int64_t kMostRecordsShown = 1000;
constexpr int64_t kUsualRecordsShown = 100;
constexpr int64_t kLongestFollowMs = 30'000;
constexpr size_t kLongestFilter = 512;
constexpr auto kLookEvery = 200ms;
constexpr size_t kPieceBytes = 256 << 10;

Result<std::string> text_parameter(const Call& call, std::string_view name) {
  std::string text = call.head.parameter(name).value_or("");
  if (text.size() <= kLongestFilter) return text;
  return Error(ErrorCode::invalid_argument, std::string(name) + " is too long");
}

Result<int64_t> time_parameter(const Call& call, std::string_view name, int64_t otherwise) {
  std::string text = call.head.parameter(name).value_or("");
  if (text.empty()) return otherwise;
  auto time = from_rfc3339(text);
  if (time) return to_unix_ms(*time);
  return Error(ErrorCode::invalid_argument,
               std::string(name) + " must be a time such as 2026-01-31T12:00:00Z");
}

Result<audit::Query> parse_query(const Call& call) {
  audit::Query query;
  HAKO_TRY(auto after, query_number(call.head, "after", INT64_MAX));
  HAKO_TRY(auto before, query_number(call.head, "before", INT64_MAX));
  HAKO_TRY(auto limit, query_number(call.head, "limit", kMostRecordsShown));
  if (after && before) {
    return Error(ErrorCode::invalid_argument, "after and before exclude each other");
  }
  query.backward = !after;
  query.from = after ? *after : before.value_or(0);
  query.limit = size_t(limit.value_or(kUsualRecordsShown));
  HAKO_TRY(query.since_ms, time_parameter(call, "since", 0));
  HAKO_TRY(query.until_ms, time_parameter(call, "until", INT64_MAX));
  HAKO_TRY(query.sandbox, text_parameter(call, "sandbox"));
  HAKO_TRY(query.actor, text_parameter(call, "actor"));
  HAKO_TRY(query.action, text_parameter(call, "action"));
  HAKO_TRY(query.outcome, text_parameter(call, "outcome"));
  HAKO_TRY(query.text, text_parameter(call, "text"));
  return query;
}

/// Whose records are asked for; empty: everybody's.
Result<std::string> tenant_asked(const Call& call) {
  HAKO_TRY(auto asked, text_parameter(call, "tenant"));
  if (call.who.is_operator) {
    // In another tenant the operator acts as its owner.
    bool acts_elsewhere = !call.head.header(kTenantHeader).empty();
    return asked.empty() && acts_elsewhere ? call.who.tenant : asked;
  }
  if (asked.empty() || asked == call.who.tenant) return call.who.tenant;
  return unknown_tenant(asked);
}

Task<Result<audit::Page>> read_page(Service& service, audit::Query query) {
  auto page = co_await service.trail.read(std::move(query));
  if (!page) co_return error_for_user(page.error(), "audit log not read");
  co_return page;
}

/// As read_page(), and waits for the first record for so long.
Task<Result<audit::Page>> follow(Service& service, audit::Query query,
                                 std::chrono::milliseconds patience) {
  auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    int64_t last = service.trail.log().last_sequence();
    HAKO_CO_TRY(auto page, co_await read_page(service, query));
    if (!page.records.empty() || page.more) co_return page;
    query.from = std::max(query.from, page.next);
    while (service.trail.log().last_sequence() == last) {
      if (std::chrono::steady_clock::now() >= until) co_return page;
      co_await sleep_for(kLookEvery);
    }
    if (std::chrono::steady_clock::now() >= until) co_return page;
  }
}

Error not_the_operator() {
  return Error(ErrorCode::permission_denied,
               "segments hold what all tenants did: for the operator");
}

}  // namespace

Task<Result<Response>> read_audit(Service& service, const Call& call) {
  HAKO_CO_TRY(auto query, parse_query(call));
  HAKO_CO_TRY(auto wait_ms, query_number(call.head, "wait_ms", kLongestFollowMs));
  HAKO_CO_TRY(auto tenant, tenant_asked(call));
  AuditView view(call.who, tenant);
  query.tenant = tenant;
  // Else whoever waits for records would wake up by their own reading.
  if (wait_ms) query.without_action = "audit.read";
  audit::Query asked = query;
  query.admits = [view, asked](const audit::Found& record) { return view.admits(record, asked); };
  bool waits = wait_ms && !query.backward;
  auto reading = waits ? follow(service, std::move(query), std::chrono::milliseconds(*wait_ms))
                       : read_page(service, std::move(query));
  HAKO_CO_TRY(auto page, co_await std::move(reading));
  json::array records;
  for (audit::Found& record : page.records) records.push_back(view.shown(std::move(record)));
  json::object answer;
  answer["records"] = std::move(records);
  answer["next"] = page.next;
  answer["more"] = page.more;
  co_return Response::json(200, answer);
}

Task<Result<Response>> audit_head(Service& service, const Call&) {
  std::string line = service.trail.log().head();
  auto head = audit::parse_head(line);
  if (!head) co_return Error(ErrorCode::internal, "there is no signed head");
  const audit::PublicKey& key = service.trail.log().public_key();
  json::object answer;
  answer["head"] = line;
  answer["sequence"] = head->link.sequence;
  answer["hash"] = audit::hash_line(line);
  answer["log"] = head->log;
  answer["publicKey"] = audit::to_hex(key);
  answer["publicKeyPEM"] = audit::to_pem(key);
  co_return Response::json(200, answer);
}

Task<Result<Response>> list_audit_segments(Service& service, const Call& call) {
  if (!call.who.is_operator) co_return not_the_operator();
  auto list = [directory = service.trail.log().directory()]() -> Result<json::array> {
    HAKO_TRY(auto folder, audit::Folder::open(directory));
    HAKO_TRY(auto segments, audit::list_segments(folder));
    json::array all;
    for (int64_t first : segments) {
      auto info = folder.look_at(audit::segment_name(first));
      if (!info) continue;
      json::object one;
      one["name"] = audit::segment_name(first);
      one["first"] = first;
      one["bytes"] = int64_t(info.value().st_size);
      all.push_back(std::move(one));
    }
    return all;
  };
  auto segments = co_await run_blocking(service.trail.reading(), list);
  if (!segments) co_return error_for_user(segments.error(), "segments not listed");
  json::object answer;
  answer["segments"] = std::move(segments.value());
  co_return Response::json(200, answer);
}

Task<Result<Response>> audit_segment(Service& service, const Call& call) {
  if (!call.who.is_operator) co_return not_the_operator();
  auto first = audit::segment_sequence(call.parameters[0]);
  Error missing(ErrorCode::not_found, "segment " + valid_utf8(call.parameters[0]) + " not found");
  if (!first) co_return missing;
  struct Open {
    Fd file;
    int64_t at = 0;
    int64_t end = 0;
  };
  auto open = [directory = service.trail.log().directory(),
               name = audit::segment_name(*first)]() -> Result<std::shared_ptr<Open>> {
    auto opened = std::make_shared<Open>();
    HAKO_TRY(auto folder, audit::Folder::open(directory));
    HAKO_TRY(opened->file, folder.open_file(name, O_RDONLY));
    HAKO_TRY(opened->end, audit::whole_size(opened->file));
    return opened;
  };
  auto opened = co_await run_blocking(service.trail.reading(), open);
  if (!opened && opened.error().code() == ErrorCode::not_found) co_return missing;
  if (!opened) co_return error_for_user(opened.error(), "segment not read");
  Response response;
  response.status = 200;
  response.fields.set(http::Field::content_type, "application/jsonl");
  response.fields.set(http::Field::content_length, std::to_string(opened.value()->end));
  asio::thread_pool& pool = service.trail.reading();
  response.more = [&pool, segment = std::move(opened.value())]() -> Task<Result<std::string>> {
    auto read = [segment]() -> Result<std::string> {
      std::string piece(size_t(std::min<int64_t>(segment->end - segment->at, kPieceBytes)), '\0');
      ssize_t count = ::pread(segment->file.get(), piece.data(), piece.size(), segment->at);
      if (count < 0) return Error::from_errno(errno, "read segment");
      piece.resize(size_t(count));
      segment->at += count;
      return piece;
    };
    co_return co_await run_blocking(pool, read);
  };
  co_return response;
}

}  // namespace hako::api
