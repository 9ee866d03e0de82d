#include "guest/freezer.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "base/log.h"
#include "guest/remedies.h"

namespace hako::guest {
namespace {

using Clock = std::chrono::steady_clock;

/// While programs run.
constexpr std::chrono::seconds kWriteOutTime{10};
/// While they do not.
constexpr std::chrono::seconds kStandstillTime{2};
constexpr std::chrono::milliseconds kLookAgain{1};
constexpr char kProgramGroup[] = "/programs";
constexpr size_t kMostNamed = 3;

Result<void> put(const std::string& path, std::string_view text) {
  HAKO_TRY(auto file, open_file(path, O_WRONLY));
  auto written = write_all(file.get(), text);
  if (!written) return std::move(written).error().with_context(path);
  return ok();
}

bool has_gone(const Error& error) {
  return error.os_error() == ENOENT || error.os_error() == ENODEV || error.os_error() == ESRCH;
}

template <class Use>
void for_each_line(std::string_view text, Use use) {
  while (!text.empty()) {
    size_t end = text.find('\n');
    use(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

std::vector<pid_t> pids_in(const std::string& group) {
  std::vector<pid_t> pids;
  auto text = read_file(group + "/cgroup.procs");
  if (!text) return pids;
  for_each_line(text.value(), [&](std::string_view line) {
    pid_t pid = 0;
    std::from_chars(line.data(), line.data() + line.size(), pid);
    if (pid > 0) pids.push_back(pid);
  });
  return pids;
}

/// Fields of /proc/PID/stat behind the program's name, which may hold anything: the 7th has flags.
bool is_kernel_thread(pid_t pid) {
  constexpr unsigned long kKernelThread = 0x00200000;
  auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return true;  // gone
  std::string_view rest = text.value();
  rest.remove_prefix(std::min(rest.size(), rest.rfind(')') + 1));
  for (int field = 0; field < 7; ++field) {
    size_t space = rest.find(' ');
    if (space == std::string_view::npos) return false;
    rest.remove_prefix(space + 1);
  }
  unsigned long flags = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), flags);
  return (flags & kKernelThread) != 0;
}

std::string name_of(pid_t pid) {
  auto name = read_file("/proc/" + std::to_string(pid) + "/comm");
  return name ? name.value().substr(0, name.value().find('\n')) : "?";
}

}  // namespace

/// Writes a file system out on a thread of its own: that can take long, and cannot be called off.
class Freezer::Disk {
 public:
  explicit Disk(std::string path) : path_(std::move(path)) {}

  Task<Result<void>> write_out(Duration limit) {
    if (path_.empty()) co_return ok();
    auto executor = co_await asio::this_coro::executor;
    auto state = std::make_shared<State>(executor);
    if (!thread_) thread_.emplace(1);
    auto keep_alive = asio::prefer(executor, asio::execution::outstanding_work.tracked);
    asio::post(*thread_, [state, keep_alive, path = path_] {
      Result<void> outcome = sync(path);
      asio::post(keep_alive, [state, outcome] {
        state->outcome = outcome;
        state->wake.cancel();
      });
    });
    state->wake.expires_after(limit);
    boost::system::error_code ignored;
    co_await state->wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (!state->outcome) co_return Error(ErrorCode::timed_out, "the disk takes too long");
    co_return *state->outcome;
  }

 private:
  struct State {
    explicit State(asio::any_io_executor executor) : wake(executor) {}
    asio::steady_timer wake;
    std::optional<Result<void>> outcome;
  };

  static Result<void> sync(const std::string& path) {
    HAKO_TRY(auto folder, open_file(path, O_RDONLY | O_DIRECTORY));
    if (::syncfs(folder.get()) < 0) return Error::from_errno(errno, "write the disk out");
    return ok();
  }

  std::string path_;
  std::optional<asio::thread_pool> thread_;
};

Freezer::Freezer(std::string groups, std::string disk)
    : groups_(std::move(groups)), disk_(std::make_unique<Disk>(std::move(disk))) {}

Freezer::~Freezer() = default;

Result<void> Freezer::prepare() {
  if (groups_.empty()) return ok();
  std::string path = groups_ + kProgramGroup;
  if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST)
    return Error::from_errno(errno, "make " + path);
  HAKO_TRY(group_, open_file(path, O_RDONLY | O_DIRECTORY));
  return ok();
}

Task<void> Freezer::wait_until_thawed() {
  while (frozen_) co_await thawed_.wait();
}

Task<Result<void>> Freezer::freeze() {
  auto turn = co_await turns_.take();
  if (frozen_) co_return ok();
  if (groups_.empty()) co_return Error(ErrorCode::unsupported, "programs cannot be frozen here");
  if (is_taken_out(Remedy::freeze)) co_return ok();
  // What has piled up is written while programs run, so that they stand still for less.
  HAKO_CO_TRYV(co_await disk_->write_out(kWriteOutTime));
  // Looked for before, too: the kernel's own threads are there, and it takes a while to know them.
  kernel_threads_.clear();
  HAKO_CO_TRYV(gather_strays());
  frozen_ = true;
  Result<void> still = co_await stand_still();
  if (still) co_return ok();
  if (auto thawed = thaw(); !thawed) log_error("not_thawed", {{"error", thawed.error().message()}});
  co_return still;
}

Task<Result<void>> Freezer::stand_still() {
  auto end = Clock::now() + kStandstillTime;
  HAKO_CO_TRYV(co_await stop_programs(kStandstillTime));
  HAKO_CO_TRYV(co_await disk_->write_out(end - Clock::now()));
  if (!frozen_) co_return Error(ErrorCode::unavailable, "programs were let go on meanwhile");
  co_return ok();
}

Task<Result<void>> Freezer::stop_programs(Duration limit) {
  auto end = Clock::now() + limit;
  while (frozen_) {
    HAKO_CO_TRY(bool stopped, try_to_stop());
    if (stopped) co_return ok();
    if (Clock::now() >= end)
      co_return Error(ErrorCode::timed_out, "cannot be frozen: " + who_moves());
    co_await sleep_for(kLookAgain);
  }
  co_return Error(ErrorCode::unavailable, "programs were let go on meanwhile");
}

/// Whether all stand still now.
Result<bool> Freezer::try_to_stop() {
  HAKO_TRY(auto groups, top_groups());
  bool news = false, all_still = true;
  for (const std::string& group : groups) {
    auto wanted = read_file(group + "/cgroup.freeze");
    if (wanted && wanted.value().starts_with('0')) {
      auto stopped = put(group + "/cgroup.freeze", "1");
      if (!stopped && !has_gone(stopped.error())) return stopped.error();
      if (std::find(stopped_.begin(), stopped_.end(), group) == stopped_.end())
        stopped_.push_back(group);
      news = true;
    }
    auto events = read_file(group + "/cgroup.events");
    all_still = all_still && (!events || events.value().find("frozen 1") != std::string::npos);
  }
  // Before it stopped, a program may have made another group, or left its own.
  if (news || !all_still) return false;
  HAKO_TRY(bool strays, gather_strays());
  return !strays;
}

/// Moves programs that are in no group, where somebody must have put them, to ours. Whether there
/// were any.
Result<bool> Freezer::gather_strays() {
  bool found = false;
  for (pid_t pid : pids_in(groups_)) {
    if (pid == ::getpid() || kernel_threads_.contains(pid)) continue;
    if (is_kernel_thread(pid)) {
      kernel_threads_.insert(pid);
      continue;
    }
    HAKO_TRYV(prepare());
    auto moved = put(groups_ + kProgramGroup + "/cgroup.procs", std::to_string(pid));
    if (!moved && !has_gone(moved.error()))
      return Error(ErrorCode::failed_precondition,
                   "cannot be frozen: program " + std::to_string(pid) + " (" + name_of(pid) +
                       "), which has left the control groups: " + moved.error().message());
    found = true;
  }
  return found;
}

Result<std::vector<std::string>> Freezer::top_groups() const {
  DIR* listing = ::opendir(groups_.c_str());
  if (!listing) return Error::from_errno(errno, "read " + groups_);
  std::vector<std::string> groups;
  while (const dirent* entry = ::readdir(listing))
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
      groups.push_back(groups_ + "/" + entry->d_name);
  ::closedir(listing);
  return groups;
}

/// Those of our group that do not stand where the freezer has them stand, for a message.
std::string Freezer::who_moves() const {
  std::string names;
  size_t count = 0;
  for (pid_t pid : pids_in(groups_ + kProgramGroup)) {
    auto where = read_file("/proc/" + std::to_string(pid) + "/wchan");
    // Kernels differ in which of the two has taken in the other.
    if (!where || where.value() == "do_freezer_trap" || where.value() == "get_signal") continue;
    if (++count > kMostNamed) continue;
    names += (names.empty() ? "program " : ", ") + std::to_string(pid) + " (" + name_of(pid) + ")";
  }
  if (count > kMostNamed) names += " and " + std::to_string(count - kMostNamed) + " more";
  return names.empty() ? "a program" : names;
}

Result<void> Freezer::thaw() {
  Result<void> outcome = ok();
  std::vector<std::string> left;
  for (const std::string& group : stopped_) {
    auto thawed = put(group + "/cgroup.freeze", "0");
    if (thawed || has_gone(thawed.error())) continue;
    outcome = thawed;
    left.push_back(group);
  }
  stopped_ = std::move(left);
  if (!outcome) return outcome;
  frozen_ = false;
  thawed_.notify_all();
  return ok();
}

}  // namespace hako::guest
