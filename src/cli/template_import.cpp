#include <fcntl.h>
#include <sys/stat.h>

#include "base/encoding.h"
#include "base/random.h"
#include "cli/api.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/text.h"
#include "cli/tree_source.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr std::chrono::hours kLongestUpload{1};
constexpr std::chrono::hours kLongestImport{2};
constexpr std::chrono::milliseconds kPollPause{300};
constexpr std::string_view kUploadPath = "/v1/template-files/";

/// A folder is sent as the archive it would be.
Result<std::unique_ptr<ByteSource>> open_source(const std::string& path, Fd& file) {
  HAKO_TRY(file, open_file(path, O_RDONLY));
  struct stat info {};
  if (::fstat(file.get(), &info) < 0) return Error::from_errno(errno, "read " + path);
  if (S_ISDIR(info.st_mode)) {
    return std::unique_ptr<ByteSource>(std::make_unique<TreeSource>(std::move(file)));
  }
  return std::unique_ptr<ByteSource>(std::make_unique<SharedDescriptor>(file.get()));
}

Task<Result<void>> send(Connection& connection, std::string target, ByteSource& source) {
  http::Request request;
  request.method = http::Verb::put;
  request.target = connection.endpoint().prefix + std::move(target);
  request.fields.set(http::Field::host, connection.endpoint().authority());
  HAKO_CO_TRY(auto* client, co_await connection.client());
  HAKO_CO_TRYV(co_await client->begin(std::move(request)));
  std::vector<char> buffer(256 << 10);
  for (;;) {
    HAKO_CO_TRY(size_t n, co_await source.read_some(asio::buffer(buffer)));
    if (n == 0) break;
    auto written = co_await client->write(asio::buffer(buffer.data(), n));
    // Whoever refuses answers before the end; what it says tells more.
    if (!written) break;
  }
  (void)co_await client->finish();
  HAKO_CO_TRY(auto head, co_await client->read_head());
  connection.drop();
  if (head.status == 200) co_return ok();
  co_return Error(ErrorCode::failed_precondition,
                  "the server does not take the archive: status " + std::to_string(head.status));
}

Task<Result<void>> upload(const ApiAccess& access, const std::string& url,
                          const std::string& path) {
  size_t at = url.find(kUploadPath);
  if (at == std::string::npos)
    co_return Error(ErrorCode::corrupted, "the API's answer names no place for the archive");
  Fd file;
  HAKO_CO_TRY(auto source, open_source(path, file));
  Connection connection(access.endpoint);
  auto sending = send(connection, url.substr(at), *source);
  HAKO_CO_TRYV(co_await with_deadline(kLongestUpload, std::move(sending)));
  if (auto* tree = dynamic_cast<TreeSource*>(source.get()); tree && tree->failure())
    co_return *tree->failure();
  co_return ok();
}

/// Prints the log as it grows, until the build has ended.
Task<Result<void>> follow(Api& api, std::string target) {
  auto give_up = std::chrono::steady_clock::now() + kLongestImport;
  size_t seen = 0;
  while (std::chrono::steady_clock::now() < give_up) {
    HAKO_CO_TRY(auto answer,
                co_await api.call(http::Verb::get, target + "?logsOffset=" + std::to_string(seen)));
    const json::value* entries = nullptr;
    if (const auto* object = answer.if_object()) entries = object->if_contains("logEntries");
    size_t count = entries && entries->is_array() ? entries->get_array().size() : 0;
    for (size_t i = 0; i < count; ++i)
      print_note(printable(text_member(entries->get_array()[i], "message")));
    seen += count;
    std::string status = text_member(answer, "status");
    if (count > 0) continue;
    if (status == "ready") co_return ok();
    if (status == "error") {
      const json::value* reason = answer.as_object().if_contains("reason");
      co_return Error(ErrorCode::failed_precondition,
                      printable(reason ? text_member(*reason, "message") : "unknown reason"));
    }
    co_await sleep_for(kPollPause);
  }
  co_return Error(ErrorCode::timed_out, "the import did not end in time");
}

Task<Result<void>> import_image(const ApiAccess& access, const TemplateImportOptions& options) {
  Api api(access);
  json::object wanted;
  wanted["name"] = options.name;
  if (options.memory_mib) wanted["memoryMB"] = *options.memory_mib;
  if (options.vcpus) wanted["cpuCount"] = *options.vcpus;
  if (!options.label.empty()) wanted["label"] = options.label;
  json::value body = std::move(wanted);
  HAKO_CO_TRY(auto made, co_await api.call(http::Verb::post, "/v3/templates", std::move(body)));
  std::string id = percent_encode(text_member(made, "templateID"));
  std::string build = percent_encode(text_member(made, "buildID"));
  std::string hash = random_hex(32);
  HAKO_CO_TRY(auto link, co_await api.call(http::Verb::get, "/templates/" + id + "/files/" + hash));
  HAKO_CO_TRYV(co_await upload(access, text_member(link, "url"), options.path));
  json::object recipe;
  recipe["fromArchive"] = hash;
  json::value start = std::move(recipe);
  HAKO_CO_TRYV(co_await api.call(http::Verb::post, "/v2/templates/" + id + "/builds/" + build,
                                 std::move(start)));
  co_return co_await follow(api, "/templates/" + id + "/builds/" + build + "/status");
}

Task<int> import_command(const GlobalOptions& global, const TemplateImportOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  auto done = co_await import_image(access.value(), options);
  if (!done) co_return fail(done.error().with_context("import " + options.path));
  print(options.name + "\n");
  co_return 0;
}

}  // namespace

int import_template(const GlobalOptions& global, const TemplateImportOptions& options) {
  return run_to_end([&] { return import_command(global, options); });
}

}  // namespace hako::cli
