// Copies of the audit log: made, and checked without anything but the public key.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>

#include "audit/folder.h"
#include "audit/log.h"
#include "audit/segments.h"
#include "audit/verify.h"
#include "base/encoding.h"
#include "base/fd.h"
#include "cli/api.h"
#include "cli/audit_commands.h"
#include "cli/output.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr auto kSegmentTime = std::chrono::hours(1);

/// Where an export puts the public key. It comes from where the copy does, so it proves nothing
/// against whoever made that.
std::string key_in_copy(const std::string& directory) {
  return directory + "/audit-key.pub";
}

struct RemoteSegment {
  int64_t first = 0;
  int64_t bytes = 0;
};

Result<std::vector<RemoteSegment>> segments_in(const json::value& answer) {
  const auto* fields = answer.if_object();
  const json::value* list = fields ? fields->if_contains("segments") : nullptr;
  std::vector<RemoteSegment> segments;
  if (!list || !list->is_array()) {
    return Error(ErrorCode::corrupted, "the API's answer is no list of segments");
  }
  for (const json::value& one : list->get_array()) {
    // The name becomes one of a file: it is made anew of the number in it.
    auto first = audit::segment_sequence(text_member(one, "name"));
    if (!first) return Error(ErrorCode::corrupted, "the API's answer names no segment");
    segments.push_back({*first, number_member(one, "bytes")});
  }
  return segments;
}

Task<Result<void>> fetch_segment(Api& api, std::string directory, int64_t first) {
  std::string path = audit::segment_path(directory, first);
  HAKO_CO_TRY(auto file, open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  ByteTaker take = [fd = file.get()](std::string_view piece) { return write_all(fd, piece); };
  auto target = "/v1/audit/segments/" + audit::segment_name(first);
  auto fetched = co_await api.download(std::move(target), std::move(take), kSegmentTime);
  if (!fetched) co_return fetched.error().with_context("segment " + audit::segment_name(first));
  co_return ok();
}

Task<Result<int>> copy_all(Api& api, std::string directory) {
  // The head first: what is written later may be in the copy, and need not.
  HAKO_CO_TRY(auto head, co_await api.call(http::Verb::get, "/v1/audit/head"));
  HAKO_CO_TRY(auto list, co_await api.call(http::Verb::get, "/v1/audit/segments"));
  HAKO_CO_TRY(auto segments, segments_in(list));
  if (::mkdir(directory.c_str(), 0700) < 0 && errno != EEXIST) {
    co_return Error::from_errno(errno, "make " + directory);
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    struct stat info {};
    std::string path = audit::segment_path(directory, segments[i].first);
    // Of an earlier export; the last one may have grown.
    bool is_there = i + 1 < segments.size() && ::stat(path.c_str(), &info) == 0 &&
                    info.st_size == segments[i].bytes;
    if (is_there) continue;
    HAKO_CO_TRYV(co_await fetch_segment(api, directory, segments[i].first));
  }
  HAKO_CO_TRYV(
      write_file_atomically(audit::head_path(directory), text_member(head, "head") + "\n", 0600));
  HAKO_CO_TRYV(
      write_file_atomically(key_in_copy(directory), text_member(head, "publicKey") + "\n", 0644));
  co_return int(segments.size());
}

Task<int> export_command(const GlobalOptions& global, std::string directory) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto copied = co_await copy_all(api, directory);
  if (!copied) co_return fail(copied.error());
  print(directory + ": " + std::to_string(copied.value()) + " segments\n");
  co_return 0;
}

struct KnownKey {
  audit::PublicKey key;
  bool from_copy = false;
};

Result<KnownKey> find_key(const GlobalOptions& global, const AuditCommandOptions& options) {
  KnownKey known;
  std::string path = options.key;
  if (path.empty()) {
    HAKO_TRY(auto config, load_config(global));
    path = config.audit_key() + ".pub";
    struct stat info {};
    if (::stat(path.c_str(), &info) < 0) {
      path = key_in_copy(options.directory);
      known.from_copy = true;
    }
  }
  // Whoever writes the log, or made the copy, is not trusted to say which file root reads.
  auto text = options.key.empty() ? audit::read_unfollowed(path, 4096) : read_file(path, 4096);
  if (!text) return text.error().with_context("the public key");
  auto key = audit::public_key_from(text.value());
  if (!key) return Error(ErrorCode::invalid_argument, path + " holds no public key");
  known.key = *key;
  return known;
}

Result<audit::Expectation> expectation_of(const AuditCommandOptions& options) {
  audit::Expectation expected;
  expected.begins_at = options.begins_at;
  if (!options.head.empty()) {
    HAKO_TRY(expected.head, read_file(options.head, 4096));
    while (!expected.head.empty() && expected.head.back() <= ' ') expected.head.pop_back();
  }
  if (options.at_least.empty()) return expected;
  size_t colon = options.at_least.find(':');
  const char* text = options.at_least.c_str();
  auto [end, problem] =
      std::from_chars(text, text + std::min(colon, options.at_least.size()), expected.at_least);
  bool is_number = problem == std::errc() && colon != std::string::npos && end == text + colon;
  if (is_number) expected.hash = options.at_least.substr(colon + 1);
  if (!is_number || expected.at_least < 1 || !hex_decode(expected.hash) ||
      expected.hash.size() != 64) {
    return Error(ErrorCode::invalid_argument,
                 "--at-least takes a sequence, ':' and the 64 hex digits of its hash");
  }
  return expected;
}

json::object problem_json(const audit::Problem& problem) {
  json::object object;
  object["flaw"] = to_string(problem.flaw);
  object["segment"] = problem.segment;
  object["line"] = problem.line;
  object["sequence"] = problem.sequence;
  object["text"] = problem.text;
  return object;
}

void print_verdict(const GlobalOptions& global, const audit::Verdict& verdict) {
  if (global.json) {
    json::object object;
    object["ok"] = !verdict.problem;
    if (verdict.problem) object["problem"] = problem_json(*verdict.problem);
    object["log"] = verdict.log;
    object["segments"] = verdict.segments;
    object["records"] = verdict.records;
    object["heads"] = verdict.heads;
    object["first"] = verdict.first_sequence;
    object["last"] = verdict.last_sequence;
    object["signed"] = verdict.signed_sequence;
    object["signedTime"] = verdict.signed_time;
    object["closed"] = verdict.closed;
    print_json(object);
    return;
  }
  if (verdict.problem) {
    const audit::Problem& problem = *verdict.problem;
    print(std::string(to_string(problem.flaw)) + ": record " + std::to_string(problem.sequence) +
          ", " + problem.segment + " line " + std::to_string(problem.line) + ": " + problem.text +
          "\n");
    return;
  }
  print("good: " + std::to_string(verdict.records) + " records, " +
        std::to_string(verdict.first_sequence) + " to " + std::to_string(verdict.last_sequence) +
        ", in " + std::to_string(verdict.segments) + " segments; signed up to " +
        std::to_string(verdict.signed_sequence) + " at " + verdict.signed_time + "\n");
  int64_t unsigned_records = verdict.last_sequence - verdict.signed_sequence;
  if (unsigned_records > 0) {
    print("the last " + std::to_string(unsigned_records) + " are not signed yet\n");
  }
  if (!verdict.compared_with_head) {
    print("no head to compare with: whether its end was cut off does not show\n");
  }
}

}  // namespace

int export_audit(const GlobalOptions& global, const std::string& directory) {
  return run_to_end([&] { return export_command(global, directory); });
}

int verify_audit(const GlobalOptions& global, const AuditCommandOptions& options) {
  auto expected = expectation_of(options);
  if (!expected) return fail(expected.error(), 2);
  auto key = find_key(global, options);
  if (!key) return fail(key.error(), 2);
  if (key.value().from_copy) {
    print_note(
        "the key is the one in the copy, so that this shows nothing of whoever made it; "
        "give the key with --key");
  }
  auto verdict = audit::verify_log(options.directory, key.value().key, expected.value());
  if (!verdict) return fail(verdict.error(), 2);
  print_verdict(global, verdict.value());
  return verdict.value().problem ? 1 : 0;
}

int seal_off_audit(const GlobalOptions& global, const std::string& directory) {
  std::string from = directory;
  if (from.empty()) {
    auto config = load_config(global);
    if (!config) return fail(config.error());
    from = config.value().audit_dir();
  }
  auto moved = audit::seal_off(from);
  if (!moved) return fail(moved.error());
  print(moved.value() + "\n");
  return 0;
}

}  // namespace hako::cli
