#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "base/encoding.h"
#include "cli/commands.h"
#include "cli/copy_path.h"
#include "cli/extraction.h"
#include "cli/lifecycle.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/text.h"
#include "cli/tree_source.h"

namespace hako::cli {
namespace {

constexpr size_t kPiece = 256 << 10;
/// Longest wait for one piece of a file to be taken or to come.
constexpr std::chrono::seconds kPieceTime{120};

/// Keeps the beginning of what a command says on standard error.
class ShortText : public ByteSink {
 public:
  Task<Result<void>> write(asio::const_buffer bytes) override {
    std::string_view piece(static_cast<const char*>(bytes.data()), bytes.size());
    text_.append(piece.substr(0, std::min(piece.size(), size_t{4096} - text_.size())));
    co_return ok();
  }
  std::string text() const {
    std::string_view trimmed = text_;
    while (trimmed.ends_with('\n')) trimmed.remove_suffix(1);
    return printable(trimmed);
  }

 private:
  std::string text_;
};

/// Feeds an archive to its reader.
class ArchiveSink : public ByteSink {
 public:
  explicit ArchiveSink(TarReader& reader) : reader_(reader) {}
  Task<Result<void>> write(asio::const_buffer bytes) override {
    co_return reader_.feed(std::string_view(static_cast<const char*>(bytes.data()), bytes.size()));
  }

 private:
  TarReader& reader_;
};

/// The query that names a file for the REST routes.
std::string file_target(const Connection& connection, const BoxClient& client,
                        const std::string& path) {
  std::string target = connection.endpoint().prefix + "/files?path=" + percent_encode(path);
  if (!client.user().empty()) target += "&username=" + percent_encode(client.user());
  return target;
}

Result<Fd> open_local_directory(const std::string& path) {
  return open_file(path, O_RDONLY | O_DIRECTORY);
}

/// Runs a program in the box; an error with its own words if it does not succeed.
Task<Result<void>> run_tool(BoxClient& client, std::vector<std::string> argv, ByteSource* in,
                            ByteSink* out) {
  Session session(co_await asio::this_coro::executor, client.box(), client.user());
  Session::Spec spec;
  spec.start.process.cmd = argv.front();
  spec.start.process.args.assign(argv.begin() + 1, argv.end());
  ShortText complaint;
  CommandStreams streams{in, out, &complaint};
  HAKO_CO_TRY(int status, co_await session.run(std::move(spec), streams));
  if (status == 0) co_return ok();
  std::string words = session.problem().empty() ? complaint.text() : session.problem();
  co_return Error(ErrorCode::failed_precondition, argv.front() + " in the box failed with status " +
                                                      std::to_string(status) + ": " + words);
}

struct Copied {
  uint64_t files = 0;
  uint64_t bytes = 0;
};

Task<Result<Copied>> upload_file(BoxClient& client, std::string source, std::string target) {
  HAKO_CO_TRY(auto file, open_file(source, O_RDONLY));
  struct stat status {};
  if (::fstat(file.get(), &status) < 0) co_return Error::from_errno(errno, "read " + source);

  Connection connection(client.box().data);
  auto request = box_request(client.box(), client.user(), http::Verb::post,
                             file_target(connection, client, target), "application/octet-stream");
  request.fields.set(http::Field::host, connection.endpoint().authority());
  HAKO_CO_TRY(auto* http, co_await connection.client());
  HAKO_CO_TRYV(co_await http->begin(std::move(request)));
  std::vector<char> buffer(kPiece);
  Copied copied{1, 0};
  while (true) {
    ssize_t n = ::read(file.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) co_return Error::from_errno(errno, "read " + source);
    if (n == 0) break;
    copied.bytes += static_cast<uint64_t>(n);
    auto piece = http->write(asio::buffer(buffer.data(), static_cast<size_t>(n)));
    auto sent = co_await with_deadline(kPieceTime, std::move(piece));
    // A refusal may come before the whole file has been taken.
    if (!sent) break;
  }
  auto finished = co_await http->finish();
  static_cast<void>(finished);
  auto waiting = http->read_head();
  auto head = co_await with_deadline(kPieceTime, std::move(waiting));
  if (!head) co_return unreachable(client.box().data, head.error());
  std::string body;
  while (body.size() < kPiece) {
    auto n = co_await http->read_some(asio::buffer(buffer));
    if (!n || n.value() == 0) break;
    body.append(buffer.data(), n.value());
  }
  if (head.value().status != 200) co_return box_error(client.box(), head.value().status, body);
  if (!finished) co_return Error(ErrorCode::unavailable, "the box did not take the whole file");

  if (status.st_mode & 0111) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%o", status.st_mode & 0777);
    HAKO_CO_TRY(auto entry, co_await client.stat(target));
    std::vector<std::string> chmod{"chmod", mode, "--", entry ? entry->path : target};
    HAKO_CO_TRYV(co_await run_tool(client, std::move(chmod), nullptr, nullptr));
  }
  co_return copied;
}

Task<Result<Copied>> upload_directory(BoxClient& client, std::string source, std::string target,
                                      std::vector<std::string>& skipped) {
  HAKO_CO_TRY(auto directory, open_local_directory(source));
  HAKO_CO_TRY(auto absolute, co_await client.make_directory(target));
  TreeSource tree(std::move(directory));
  std::vector<std::string> unpack{"tar", "-x", "-p", "--no-same-owner", "-f", "-", "-C", absolute};
  auto unpacked = co_await run_tool(client, std::move(unpack), &tree, nullptr);
  if (tree.failure()) co_return *tree.failure();
  if (!unpacked) co_return unpacked.error();
  skipped = tree.skipped();
  co_return Copied{tree.files(), tree.bytes()};
}

/// Where a copy of something called `name` goes on this machine: into `target` if that is a
/// directory, else to `target` itself.
std::string local_target(const std::string& target, const std::string& name) {
  struct stat status {};
  bool directory = ::stat(target.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  return (directory || target.ends_with('/')) && !name.empty() ? join_path(target, name) : target;
}

Task<Result<Copied>> download_file(BoxClient& client, const wire::EntryInfo& entry,
                                   std::string target) {
  Connection connection(client.box().data);
  auto request = box_request(client.box(), client.user(), http::Verb::get,
                             file_target(connection, client, entry.path), "");
  request.fields.set(http::Field::host, connection.endpoint().authority());
  request.fields.set(http::Field::accept_encoding, "identity");
  HAKO_CO_TRY(auto* http, co_await connection.client());
  auto starting = http->start(std::move(request));
  auto head = co_await with_deadline(kPieceTime, std::move(starting));
  if (!head) co_return unreachable(client.box().data, head.error());
  std::vector<char> buffer(kPiece);
  if (head.value().status != 200) {
    auto n = co_await http->read_some(asio::buffer(buffer));
    co_return box_error(client.box(), head.value().status,
                        std::string_view(buffer.data(), n ? n.value() : 0));
  }
  // Beside its place first: a copy that breaks leaves what was there before.
  std::string partial = target + ".hako-part";
  ::unlink(partial.c_str());
  HAKO_CO_TRY(auto file, open_file(partial, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
                                   0666 & (entry.mode & 0111 ? 0777 : 0666)));
  Copied copied{1, 0};
  std::optional<Error> failure;
  while (!failure) {
    auto reading = http->read_some(asio::buffer(buffer));
    auto n = co_await with_deadline(kPieceTime, std::move(reading));
    if (!n) {
      failure = n.error().with_context("the copy broke off");
    } else if (n.value() == 0) {
      break;
    } else if (auto written = write_all(file.get(), std::string_view(buffer.data(), n.value()));
               !written) {
      failure = written.error().with_context("write " + target);
    } else {
      copied.bytes += n.value();
    }
  }
  if (!failure && entry.mode & 0111) {
    struct stat status {};
    // Whoever may read a program may run it: what the umask left of reading is kept.
    if (::fstat(file.get(), &status) == 0)
      ::fchmod(file.get(), (status.st_mode | (status.st_mode & 0444) >> 2) & 0777);
  }
  if (!failure && ::rename(partial.c_str(), target.c_str()) < 0)
    failure = Error::from_errno(errno, "write " + target);
  if (!failure) co_return copied;
  ::unlink(partial.c_str());
  co_return *failure;
}

Task<Result<Copied>> download_directory(BoxClient& client, const wire::EntryInfo& entry,
                                        std::string target, std::vector<std::string>& skipped) {
  if (::mkdir(target.c_str(), 0777) < 0 && errno != EEXIST)
    co_return Error::from_errno(errno, "make directory " + target);
  HAKO_CO_TRY(auto directory, open_local_directory(target));
  Extraction extraction(std::move(directory));
  TarReader reader(extraction);
  ArchiveSink sink(reader);
  std::vector<std::string> pack{"tar", "-c", "--hard-dereference", "-f",
                                "-",   "-C", entry.path,           "."};
  auto packed = co_await run_tool(client, std::move(pack), nullptr, &sink);
  if (!packed) co_return packed.error();
  HAKO_CO_TRYV(reader.finish());
  HAKO_CO_TRYV(extraction.finish());
  skipped = extraction.skipped();
  co_return Copied{extraction.files(), extraction.bytes()};
}

Task<Result<Copied>> copy_in(BoxClient& client, std::string source, std::string target,
                             std::vector<std::string>& skipped) {
  struct stat status {};
  if (::stat(source.c_str(), &status) < 0) co_return Error::from_errno(errno, "read " + source);
  HAKO_CO_TRY(auto existing, co_await client.stat(target));
  bool into = target.ends_with('/') || (existing && existing->type == wire::FileType::directory);
  std::string name = last_component(source);
  if (into && !name.empty()) target = join_path(target, name);
  if (S_ISDIR(status.st_mode)) co_return co_await upload_directory(client, source, target, skipped);
  if (!S_ISREG(status.st_mode))
    co_return Error(ErrorCode::invalid_argument, source + " is neither a file nor a directory");
  co_return co_await upload_file(client, source, target);
}

Task<Result<Copied>> copy_out(BoxClient& client, std::string source, std::string target,
                              std::vector<std::string>& skipped) {
  HAKO_CO_TRY(auto entry, co_await client.stat(source));
  if (!entry)
    co_return Error(ErrorCode::not_found, "there is no " + printable_field(source) + " in the box");
  // The name comes from what the user typed, never from the box.
  std::string place = local_target(target, last_component(source));
  if (entry->type == wire::FileType::directory)
    co_return co_await download_directory(client, *entry, place, skipped);
  if (entry->type == wire::FileType::file) co_return co_await download_file(client, *entry, place);
  co_return Error(ErrorCode::invalid_argument,
                  printable_field(source) + " is neither a file nor a directory");
}

Task<int> copy_command(const GlobalOptions& global, const CopyOptions& options) {
  auto from = parse_copy_path(options.source);
  if (!from) co_return fail(from.error());
  auto to = parse_copy_path(options.target);
  if (!to) co_return fail(to.error());
  if (from.value().box.empty() == to.value().box.empty())
    co_return fail(Error(ErrorCode::invalid_argument,
                         from.value().box.empty()
                             ? "neither place is in a box: write one of them as ID:PATH"
                             : "both places are in boxes: copy to this machine first"));
  if (!options.label.empty() && to.value().box.empty())
    co_return fail(Error(ErrorCode::invalid_argument,
                         "--label is for what goes into a box; this comes out of one"));
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  bool in = from.value().box.empty();
  auto box = co_await find_box(api, in ? to.value().box : from.value().box);
  if (!box) co_return fail(box.error());
  if (!options.label.empty()) {
    auto raised = co_await raise_to_at_least(api, box.value().id, options.label);
    if (!raised) co_return fail(raised.error());
  }
  BoxClient client(box.value(), options.user);
  std::vector<std::string> skipped;
  auto copying = in ? copy_in(client, from.value().path, to.value().path, skipped)
                    : copy_out(client, from.value().path, to.value().path, skipped);
  auto copied = co_await std::move(copying);
  if (!copied) co_return fail(copied.error());
  for (const auto& line : skipped) print_note(line);
  if (!options.quiet)
    print_note(std::to_string(copied.value().files) +
               (copied.value().files == 1 ? " file, " : " files, ") +
               format_bytes(copied.value().bytes));
  co_return 0;
}

}  // namespace

int copy_files(const GlobalOptions& global, const CopyOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);
  return run_to_end([&] { return copy_command(global, options); });
}

}  // namespace hako::cli
