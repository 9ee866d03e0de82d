#include "api/image_puller.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

#include <filesystem>

#include "api/either.h"
#include "api/image_manifest.h"
#include "base/encoding.h"
#include "base/log.h"
#include "base/random.h"
#include "jail/secluded.h"

namespace hako::api {
namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

constexpr size_t kMostManifest = 8 << 20;
constexpr size_t kLongestTail = 16 << 10;
constexpr size_t kLongestSaying = 600;
constexpr auto kLookEvery = 200ms;
constexpr int kLooksPerLine = 25;  ///< a line of progress every five seconds
constexpr size_t kShortestHidden = 4;

int64_t size_of(const std::string& folder) {
  int64_t total = 0;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error), end;
  while (!error && entry != end) {
    struct stat info {};
    if (::lstat(entry->path().c_str(), &info) == 0 && S_ISREG(info.st_mode))
      total += std::max<int64_t>(info.st_size, 0);
    entry.increment(error);
  }
  return total;
}

/// What skopeo says at last: its own text when it is the usual line of a log, else all of it.
std::string reason_in(std::string_view output) {
  constexpr std::string_view kMark = "level=fatal msg=\"";
  size_t mark = output.rfind(kMark);
  std::string reason;
  if (mark == std::string_view::npos) {
    while (!output.empty() && output.back() == '\n') output.remove_suffix(1);
    return std::string(output.substr(output.rfind('\n') + 1));
  }
  for (size_t i = mark + kMark.size(); i < output.size() && output[i] != '"'; ++i) {
    if (output[i] == '\\' && i + 1 < output.size()) ++i;
    reason += output[i];
  }
  // It says so of whatever went wrong before the first layer; the name is known.
  constexpr std::string_view kNoise = "Error parsing image name \"";
  size_t end = reason.find("\": ");
  if (reason.starts_with(kNoise) && end != std::string::npos) reason.erase(0, end + 3);
  return reason;
}

std::string mebibytes(int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

void replace_all(std::string& text, const std::string& what, std::string_view by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
}

}  // namespace

/// One run of the program.
struct ImagePull::Run {
  Process process;
  asio::posix::stream_descriptor output;
  bool progress;     ///< what it says is for the user as it comes
  std::string tail;  ///< the last of what it said
  ExitStatus status;
  std::optional<Error> trouble;  ///< with its way out
};

ImagePull::ImagePull(const config::Config& config, const policy::RegistryLists& lists,
                     asio::thread_pool& disk, std::string folder, ImageName name,
                     RegistryLogin login, Say say)
    : config_(config),
      lists_(lists),
      disk_(disk),
      folder_(std::move(folder)),
      name_(std::move(name)),
      login_(std::move(login)),
      say_(std::move(say)),
      until_(std::chrono::steady_clock::now() + kPullTime) {}

ImagePull::~ImagePull() {
  // Removing gigabytes takes a while.
  asio::post(disk_, [folder = folder_] {
    std::error_code error;
    fs::remove_all(folder, error);
    if (error) log_warn("what a pull left is not removed", {{"error", error.message()}});
  });
}

Duration ImagePull::time_left() const {
  return std::max<Duration>(until_ - std::chrono::steady_clock::now(), 0s);
}

Result<void> ImagePull::prepare() {
  for (const std::string& each : {folder_, folder_ + "/tmp"})
    if (::mkdir(each.c_str(), 0700) < 0 && errno != EEXIST)
      return Error::from_errno(errno, "make a folder for the pull");
  json::object auths;
  if (!login_.username.empty() || !login_.password.empty()) {
    json::object entry;
    entry["auth"] = base64_encode(login_.username + ":" + login_.password);
    auths[name_.registry] = std::move(entry);
  }
  json::object file;
  file["auths"] = std::move(auths);
  // Without one, skopeo would look for this machine's own logins.
  return write_file_atomically(folder_ + "/auth.json", json::serialize(file), 0600,
                               Durability::process_end);
}

Task<Result<std::string>> ImagePull::look() {
  HAKO_CO_TRYV(prepare());
  HAKO_CO_TRY(auto text, co_await describe(name_.text()));
  digest_ = "sha256:" + sha256_hex(text);
  Error other(ErrorCode::corrupted, "the registry answers with another image than was asked for");
  if (!name_.digest.empty() && digest_ != name_.digest) co_return other;
  HAKO_CO_TRY(auto manifest, parse_image_manifest(text));
  if (!manifest.follow.empty()) {
    digest_ = manifest.follow;
    HAKO_CO_TRY(text, co_await describe(name_.text_at(digest_)));
    if ("sha256:" + sha256_hex(text) != digest_) co_return other;
    HAKO_CO_TRY(manifest, parse_image_manifest(text));
    if (!manifest.follow.empty()) co_return other;
  }
  bytes_ = manifest.bytes;
  co_return digest_;
}

Task<Result<std::string>> ImagePull::describe(std::string reference) {
  std::string path = folder_ + "/manifest";
  HAKO_CO_TRY(auto out, open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  std::vector<std::string> arguments = {"inspect", "--raw"};
  arguments.push_back("--authfile=" + folder_ + "/auth.json");
  if (policy::may_be_insecure(name_.registry, lists_)) arguments.push_back("--tls-verify=false");
  arguments.push_back("docker://" + reference);
  HAKO_CO_TRYV(co_await run(std::move(arguments), std::move(out)));
  auto text = read_file(path, kMostManifest);
  if (!text)
    co_return Error(ErrorCode::too_large, "the registry's description of the image is too large");
  co_return std::move(text);
}

Task<Result<Fd>> ImagePull::fetch() {
  int64_t most = int64_t(config_.pull_mib) << 20;
  Error too_large(ErrorCode::too_large,
                  "the image has " + mebibytes(bytes_) +
                      ", more than [template] pull_mib allows (" +
                      std::to_string(config_.pull_mib) + ")");
  if (bytes_ > most) co_return too_large;
  say_("pulling " + name_.text_at(digest_) + (bytes_ > 0 ? ", " + mebibytes(bytes_) : ""));
  std::string archive = folder_ + "/image.tar";
  std::vector<std::string> arguments = {"copy", "--dest-compress-format=gzip",
                                        "--remove-signatures"};
  arguments.push_back("--src-authfile=" + folder_ + "/auth.json");
  if (policy::may_be_insecure(name_.registry, lists_))
    arguments.push_back("--src-tls-verify=false");
  arguments.push_back("docker://" + name_.text_at(digest_));
  arguments.push_back("oci-archive:" + archive);
  HAKO_CO_TRYV(co_await run(std::move(arguments), Fd()));
  auto file = open_file(archive, O_RDONLY);
  if (!file) co_return Error(ErrorCode::failed_precondition, "the image has not come");
  ::unlink(archive.c_str());
  co_return std::move(file);
}

Task<Result<void>> ImagePull::run(std::vector<std::string> arguments, Fd out) {
  RegistryDoor door(lists_);
  ProcessSpec spec;
  spec.path = config_.skopeo;
  spec.argv = {"skopeo", "--override-os=linux", "--override-arch=amd64",
               "--tmpdir=" + folder_ + "/tmp"};
  spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
  std::string proxy = door.proxy_url();
  spec.env = {"PATH=/usr/bin:/bin", "HOME=" + folder_,      "XDG_RUNTIME_DIR=" + folder_,
              "LC_ALL=C",           "HTTP_PROXY=" + proxy, "HTTPS_PROXY=" + proxy};
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) co_return Error(ErrorCode::internal, "no pipe for the pull");
  Fd read_end(ends[0]), write_end(ends[1]);
  bool progress = !out;
  spec.fds = {{progress ? write_end.get() : out.get(), 1}, {write_end.get(), 2}};
  std::vector<jail::InnerListener> listeners;
  for (const auto& each : door.endpoints()) listeners.push_back({each.address, each.port});

  auto executor = co_await asio::this_coro::executor;
  auto begun = jail::launch_secluded(executor, spec, listeners);
  if (!begun) {
    log_warn("pull not begun", {{"error", begun.error().message()}});
    co_return begun.error();
  }
  write_end.reset();
  Run run{std::move(begun.value().process),
          asio::posix::stream_descriptor(executor, read_end.release()), progress, {}, {}, {}};
  auto work = [&]() -> Task<Result<void>> {
    auto serving = door.serve(std::move(begun.value().listeners));
    auto watching = watch_size();
    auto helping = until_either_ends(std::move(serving), std::move(watching));
    auto following = follow(run);
    co_await until_either_ends(std::move(following), std::move(helping));
    co_return ok();
  };
  auto working = work();
  auto in_time = co_await with_deadline(time_left(), std::move(working));
  co_await shield_from_cancellation();
  co_await run.process.kill();
  run.trouble = door.trouble();
  if (!in_time)
    co_return Error(ErrorCode::timed_out,
                    "the image did not come within " + std::to_string(kPullTime.count()) +
                        " minutes");
  if (run.status.code != 0) co_return failure(run);
  co_return ok();
}

Task<void> ImagePull::follow(Run& run) {
  std::array<char, 4096> buffer;
  std::string line;
  for (;;) {
    boost::system::error_code error;
    size_t n = co_await run.output.async_read_some(
        asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) break;
    run.tail.append(buffer.data(), n);
    if (run.tail.size() > kLongestTail) run.tail.erase(0, run.tail.size() - kLongestTail);
    for (size_t i = 0; run.progress && i < n; ++i) {
      if (buffer[i] != '\n') {
        if (line.size() < kLongestSaying) line += buffer[i];
        continue;
      }
      // How it failed is told by its error.
      if (line.find("level=fatal") == std::string::npos) say_(hide_secrets(line));
      line.clear();
    }
  }
  run.status = co_await run.process.wait();
}

Task<void> ImagePull::watch_size() {
  int64_t most = int64_t(config_.pull_mib) << 20, told = 0;
  auto measure = [this] { return size_of(folder_ + "/tmp"); };
  for (int looks = 1;; ++looks) {
    co_await sleep_for(kLookEvery);
    int64_t size = co_await run_blocking(disk_, measure);
    if (size > most) {
      too_big_ = true;
      co_return;
    }
    if (looks % kLooksPerLine != 0 || size == told) continue;
    told = size;
    say_(mebibytes(size) + (bytes_ > 0 ? " of " + mebibytes(bytes_) : "") + " are here");
  }
}

Error ImagePull::failure(const Run& run) const {
  if (too_big_)
    return Error(ErrorCode::too_large, "the image is larger than [template] pull_mib allows (" +
                                           std::to_string(config_.pull_mib) + ")");
  if (run.trouble) return *run.trouble;
  std::string reason = hide_secrets(reason_in(run.tail)).substr(0, kLongestSaying);
  if (reason.empty()) reason = "skopeo: " + run.status.describe();
  return Error(ErrorCode::failed_precondition, valid_utf8(reason));
}

std::string ImagePull::hide_secrets(std::string text) const {
  // A registry may say what it was shown.
  for (const std::string& secret :
       {login_.password, base64_encode(login_.username + ":" + login_.password)})
    if (!login_.password.empty() && secret.size() >= kShortestHidden)
      replace_all(text, secret, "***");
  return text;
}

ImagePuller::ImagePuller(const config::Config& config, asio::thread_pool& disk)
    : config_(config),
      lists_{config.registries, config.insecure_registries, config.registry_hosts},
      disk_(disk),
      folder_(fs::path(config.database()).parent_path().string() + "/pulls") {
  std::error_code error;
  fs::remove_all(folder_, error);
  fs::create_directories(folder_, error);
  fs::permissions(folder_, fs::perms::owner_all, error);
}

Result<void> ImagePuller::admit(const ImageName& name) const {
  auto decision = policy::may_pull(name.registry, lists_);
  if (!decision.allowed) return Error(ErrorCode::permission_denied, decision.explanation());
  if (::access(config_.skopeo.c_str(), X_OK) < 0)
    return Error(ErrorCode::unsupported, "pulling images needs Debian's package skopeo: " +
                                             config_.skopeo + " is not there");
  return ok();
}

std::unique_ptr<ImagePull> ImagePuller::begin(ImageName name, RegistryLogin login,
                                              ImagePull::Say say) const {
  std::string folder = folder_ + "/" + random_hex(8);
  return std::make_unique<ImagePull>(config_, lists_, disk_, std::move(folder), std::move(name),
                                     std::move(login), std::move(say));
}

}  // namespace hako::api
