#include "guest/compose.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "base/random.h"
#include "guest/file_tree.h"
#include "guest/paths.h"
#include "guest/receive.h"
#include "wire/json_text.h"

namespace hako::guest {
namespace {

constexpr size_t kLargestCompose = 4 << 20;
constexpr size_t kMostSources = 10'000;

struct Composition {
  std::vector<std::string> sources;
  std::string destination;
  Owner owner;
};

Result<Composition> parse_composition(Context& context, const boost::json::object& request) {
  Composition composition;
  HAKO_TRY(auto username, wire::string_member(request, "username"));
  HAKO_TRY(auto user, find_user(context, username.value_or("")));
  composition.owner = {user.uid, user.gid, context.settings.change_user};
  const std::string& workdir = context.identity.default_workdir();
  HAKO_TRY(auto destination, wire::string_member(request, "destination"));
  if (!destination || destination->empty())
    return Error(ErrorCode::invalid_argument, "field 'destination' is required");
  HAKO_TRY(auto resolved, resolve_path(*destination, user.home, workdir));
  composition.destination = std::move(resolved);
  auto* value = wire::find_member(request, "source_paths");
  auto* list = value ? value->if_array() : nullptr;
  if (!list || list->empty())
    return Error(ErrorCode::invalid_argument, "field 'source_paths' must be a list of paths");
  if (list->size() > kMostSources) return Error(ErrorCode::invalid_argument, "too many sources");
  for (const auto& element : *list) {
    auto* text = element.if_string();
    if (!text || text->empty())
      return Error(ErrorCode::invalid_argument, "field 'source_paths' must be a list of paths");
    HAKO_TRY(auto path, resolve_path({text->data(), text->size()}, user.home, workdir));
    composition.sources.push_back(std::move(path));
  }
  return composition;
}

Result<Fd> open_source(const std::string& path) {
  auto file = open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat info {};
  if (!file) {
    int os_error = file.error().os_error();
    if (os_error == ENOENT || os_error == ENOTDIR)
      return Error(ErrorCode::not_found, "path '" + path + "' does not exist");
    return std::move(file).error();
  }
  if (::fstat(file.value().get(), &info) < 0 || !S_ISREG(info.st_mode))
    return Error(ErrorCode::invalid_argument, "path '" + path + "' is not a regular file");
  return std::move(file.value());
}

Result<void> append_file(const Fd& target, const std::string& path) {
  HAKO_TRY(auto source, open_source(path));
  constexpr size_t kStep = 1 << 20;
  for (;;) {
    // Within the kernel where it can; file systems that cannot say so at the first step.
    ssize_t n = ::copy_file_range(source.get(), nullptr, target.get(), nullptr, kStep, 0);
    if (n == 0) return ok();
    if (n > 0 || errno == EINTR) continue;
    if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
      return Error::from_errno(errno, "copy '" + path + "'");
    break;
  }
  std::vector<char> piece(kStep);
  for (;;) {
    ssize_t n = ::read(source.get(), piece.data(), piece.size());
    if (n < 0) return Error::from_errno(errno, "read '" + path + "'");
    if (n == 0) return ok();
    HAKO_TRYV(write_all(target.get(), std::string_view(piece.data(), static_cast<size_t>(n))));
  }
}

Result<void> write_composition(const Composition& composition, const std::string& path) {
  HAKO_TRY(auto target, open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
  for (const auto& source : composition.sources) {
    HAKO_TRYV(append_file(target, source));
  }
  const Owner& owner = composition.owner;
  if (owner.give && ::fchown(target.get(), owner.uid, owner.gid) < 0)
    return Error::from_errno(errno, "own '" + composition.destination + "'");
  if (::rename(path.c_str(), composition.destination.c_str()) < 0)
    return Error::from_errno(errno, "make '" + composition.destination + "'");
  return ok();
}

Result<void> compose(const Composition& composition) {
  const std::string& destination = composition.destination;
  struct stat info {};
  if (destination.back() == '/' ||
      (::stat(destination.c_str(), &info) == 0 && S_ISDIR(info.st_mode)))
    return Error(ErrorCode::invalid_argument, "path '" + destination + "' is a directory");
  std::string folder(directory_name(destination));
  HAKO_TRYV(ensure_directory(folder, composition.owner));
  std::string unfinished = folder + "/.compose-" + random_lower_alphanumeric(12);
  auto written = write_composition(composition, unfinished);
  if (!written) {
    ::unlink(unfinished.c_str());
    return written;
  }
  // A source may be the destination itself, by whatever path.
  struct stat made {};
  bool known = ::stat(destination.c_str(), &made) == 0;
  for (const auto& source : composition.sources) {
    bool same = known && ::stat(source.c_str(), &info) == 0 && info.st_dev == made.st_dev &&
                info.st_ino == made.st_ino;
    if (!same) ::unlink(source.c_str());
  }
  return ok();
}

}  // namespace

Task<Result<std::string>> compose_files(Context& context, http::Exchange& exchange) {
  HAKO_CO_TRY(auto body, co_await exchange.read_body(kLargestCompose));
  HAKO_CO_TRY(auto request, wire::parse_object(body));
  HAKO_CO_TRY(auto composition, parse_composition(context, request));
  auto work = [&] { return compose(composition); };
  HAKO_CO_TRYV(co_await run_blocking(context.blocking.threads(), work));
  StoredFiles stored;
  stored.paths.push_back(composition.destination);
  std::string list = describe_stored(stored);
  co_return list.substr(1, list.size() - 2);
}

}  // namespace hako::guest
