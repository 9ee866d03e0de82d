#include "guest/files_rest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <ctime>
#include <set>

#include "guest/paths.h"
#include "guest/upload.h"
#include "wire/json_text.h"
#include "wire/multipart.h"
#include "wire/signature.h"

namespace hako::guest {
namespace {

constexpr size_t kPiece = 256 << 10;
constexpr size_t kLongestMetadataKey = 246;
constexpr size_t kMostMetadata = 4096;
constexpr size_t kMostFiles = 10'000;

unsigned files_status(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
      return 400;
    case ErrorCode::unauthenticated:
      return 401;
    case ErrorCode::permission_denied:
      return 403;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::no_space:
      return 507;
    case ErrorCode::unsupported:
      return 415;
    default:
      return 500;
  }
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t number = 0;
  auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || problem != std::errc() || stop != text.data() + text.size())
    return std::nullopt;
  return number;
}

std::string http_date(time_t time) {
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[64];
  size_t length = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return std::string(text, length);
}

/// Whether plain bytes are an answer that the client takes.
bool accepts_identity(std::string_view accept_encoding) {
  for (std::string_view refusal : {"identity;q=0", "*;q=0"}) {
    size_t at = accept_encoding.find(refusal);
    if (at == std::string_view::npos) continue;
    std::string_view rest = accept_encoding.substr(at + refusal.size());
    if (rest.empty() || rest.front() == ',' || rest.front() == ' ') return false;
  }
  return true;
}

struct Range {
  uint64_t first = 0;
  uint64_t length = 0;
};

enum class RangeKind { whole, part, unsatisfiable };

/// One range is served; of several, and of what is not understood, the whole file is.
RangeKind parse_range(std::string_view header, uint64_t size, Range& range) {
  constexpr std::string_view kUnit = "bytes=";
  range = {0, size};
  if (!header.starts_with(kUnit)) return RangeKind::whole;
  header.remove_prefix(kUnit.size());
  size_t dash = header.find('-');
  if (dash == std::string_view::npos || header.find(',') != std::string_view::npos)
    return RangeKind::whole;
  auto first = parse_number(header.substr(0, dash));
  auto last = parse_number(header.substr(dash + 1));
  if (!first && !last) return RangeKind::whole;
  if (!first) {
    if (dash != 0) return RangeKind::whole;
    if (*last == 0) return RangeKind::unsatisfiable;
    range.length = std::min(*last, size);
    range.first = size - range.length;
    return RangeKind::part;
  }
  if (*first >= size) return RangeKind::unsatisfiable;
  if (!last && dash + 1 != header.size()) return RangeKind::whole;
  uint64_t end = std::min(last.value_or(size - 1), size - 1);
  if (end < *first) return RangeKind::whole;
  range = {*first, end - *first + 1};
  return RangeKind::part;
}

/// The request's X-Metadata-* headers.
Result<FileMetadata> metadata_of(const http::RequestHead& head) {
  constexpr std::string_view kPrefix = "x-metadata-";
  FileMetadata metadata;
  size_t total = 0;
  for (const auto& field : head.fields) {
    std::string name(field.name_string());
    for (char& c : name)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!name.starts_with(kPrefix)) continue;
    name.erase(0, kPrefix.size());
    std::string value(field.value());
    total += name.size() + value.size();
    if (name.empty() || name.size() > kLongestMetadataKey || total > kMostMetadata)
      return Error(ErrorCode::invalid_argument, "bad metadata: a key or all of it is too long");
    metadata.emplace_back(std::move(name), std::move(value));
  }
  return metadata;
}

/// What one upload request is about.
struct UploadRequest {
  Context& context;
  http::Exchange& exchange;
  User user;
  Owner owner;
  std::optional<std::string> path;
  FileMetadata metadata;
  std::set<std::string> seen;  ///< paths of this request
  std::vector<std::string> stored;
};

Task<Result<Upload>> open_upload(UploadRequest& request, std::string_view name,
                                 std::optional<uint64_t> expected) {
  HAKO_CO_TRY(auto path,
              resolve_path(name, request.user.home, request.context.identity.default_workdir()));
  if (request.seen.size() >= kMostFiles)
    co_return Error(ErrorCode::invalid_argument, "too many files in one request");
  if (!request.seen.insert(clean_path(path)).second)
    co_return Error(ErrorCode::invalid_argument, "path '" + path + "' is given twice");
  auto work = [&] { return Upload::open(path, request.owner, expected); };
  co_return co_await run_blocking(request.context.blocking.threads(), work);
}

Task<Result<void>> write_upload(UploadRequest& request, Upload& upload, std::string_view bytes) {
  auto work = [&] { return upload.write(bytes); };
  co_return co_await run_blocking(request.context.blocking.threads(), work);
}

Result<void> finish_upload(UploadRequest& request, Upload& upload) {
  HAKO_TRYV(upload.finish(request.metadata));
  request.stored.push_back(upload.path());
  return ok();
}

/// Fills `piece` from the body as far as it goes, so that the disk sees large writes.
Task<Result<size_t>> read_piece(http::Exchange& exchange, std::vector<char>& piece) {
  size_t filled = 0;
  while (filled < piece.size()) {
    HAKO_CO_TRY(auto n, co_await exchange.read_some(
                            asio::buffer(piece.data() + filled, piece.size() - filled)));
    if (n == 0) break;
    filled += n;
  }
  co_return filled;
}

Task<Result<void>> receive_plain(UploadRequest& request) {
  if (!request.path)
    co_return Error(ErrorCode::invalid_argument, "query parameter 'path' is required");
  auto expected = parse_number(request.exchange.head().header("Content-Length"));
  HAKO_CO_TRY(auto upload, co_await open_upload(request, *request.path, expected));
  std::vector<char> piece(kPiece);
  for (;;) {
    HAKO_CO_TRY(auto n, co_await read_piece(request.exchange, piece));
    if (n == 0) break;
    HAKO_CO_TRYV(co_await write_upload(request, upload, {piece.data(), n}));
  }
  co_return finish_upload(request, upload);
}

Task<Result<void>> receive_multipart(UploadRequest& request, std::string boundary) {
  using Kind = wire::MultipartDecoder::Kind;
  wire::MultipartDecoder decoder(boundary);
  std::vector<char> piece(kPiece);
  std::optional<Upload> upload;
  for (;;) {
    HAKO_CO_TRY(auto event, decoder.next());
    if (event.kind == Kind::need_more) {
      HAKO_CO_TRY(auto n, co_await read_piece(request.exchange, piece));
      if (n == 0) co_return Error(ErrorCode::invalid_argument, "the multipart body ends too early");
      decoder.feed({piece.data(), n});
    } else if (event.kind == Kind::part_begin) {
      if (event.name != "file") continue;  // its data finds no upload and is passed over
      if (request.path && !request.seen.empty())
        co_return Error(ErrorCode::invalid_argument, "'path' is given for more than one file");
      std::string name = request.path ? *request.path : event.filename.value_or("");
      if (name.empty()) co_return Error(ErrorCode::invalid_argument, "a file has no path");
      HAKO_CO_TRY(auto opened, co_await open_upload(request, name, std::nullopt));
      upload.emplace(std::move(opened));
    } else if (event.kind == Kind::data && upload) {
      HAKO_CO_TRYV(co_await write_upload(request, *upload, event.data));
    } else if (event.kind == Kind::part_end && upload) {
      HAKO_CO_TRYV(finish_upload(request, *upload));
      upload.reset();
    } else if (event.kind == Kind::end) {
      break;
    }
  }
  if (request.stored.empty())
    co_return Error(ErrorCode::invalid_argument, "the body holds no part named 'file'");
  co_return ok();
}

std::string describe_stored(const UploadRequest& request) {
  std::string body = "[";
  for (const auto& path : request.stored) {
    if (body.size() > 1) body += ',';
    body += "{\"path\":";
    wire::append_json_string(body, path);
    body += ",\"name\":";
    wire::append_json_string(body, base_name(path));
    body += ",\"type\":\"file\"";
    if (!request.metadata.empty()) {
      body += ",\"metadata\":{";
      for (size_t i = 0; i < request.metadata.size(); ++i) {
        if (i > 0) body += ',';
        wire::append_json_string(body, request.metadata[i].first);
        body += ':';
        wire::append_json_string(body, request.metadata[i].second);
      }
      body += '}';
    }
    body += '}';
  }
  body += ']';
  return body;
}

Task<Result<void>> receive(UploadRequest& request) {
  const http::RequestHead& head = request.exchange.head();
  std::string_view encoding = head.header("Content-Encoding");
  if (!encoding.empty() && encoding != "identity")
    co_return Error(ErrorCode::unsupported, "content encoding is not supported");
  std::string_view type = head.header("Content-Type");
  if (auto boundary = wire::multipart_boundary(type))
    co_return co_await receive_multipart(request, std::move(*boundary));
  if (type.starts_with("multipart/"))
    co_return Error(ErrorCode::invalid_argument, "malformed multipart content type");
  co_return co_await receive_plain(request);
}

struct OpenedFile {
  Fd file;
  struct stat info {};
};

Result<OpenedFile> open_for_download(const std::string& path) {
  // Non-blocking: opening a pipe would wait for a writer.
  auto file = open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) {
    int os_error = file.error().os_error();
    if (os_error == ENOENT || os_error == ENOTDIR)
      return Error(ErrorCode::not_found, "path '" + path + "' does not exist");
    return std::move(file).error();
  }
  OpenedFile opened{std::move(file.value()), {}};
  if (::fstat(opened.file.get(), &opened.info) < 0)
    return Error::from_errno(errno, "path '" + path + "'");
  if (S_ISDIR(opened.info.st_mode))
    return Error(ErrorCode::invalid_argument, "path '" + path + "' is a directory");
  if (!S_ISREG(opened.info.st_mode))
    return Error(ErrorCode::invalid_argument, "path '" + path + "' is not a regular file");
  return opened;
}

/// Sends `range` of the file behind a head that announces it, or all there is to read where the
/// length is not known beforehand (/proc says 0 for files that have content).
Task<void> send_content(Context& context, http::Exchange& exchange, http::ResponseHead head,
                        const Fd& file, Range range, bool length_known) {
  std::vector<char> piece(std::min<uint64_t>(kPiece, length_known ? range.length : kPiece));
  uint64_t position = range.first, rest = range.length;
  auto work = [&]() -> ssize_t {
    size_t wanted = length_known ? std::min<uint64_t>(piece.size(), rest) : piece.size();
    return ::pread(file.get(), piece.data(), wanted, static_cast<off_t>(position));
  };
  auto begun = co_await exchange.begin(std::move(head));
  if (!begun) co_return;
  while (!length_known || rest > 0) {
    ssize_t n = co_await run_blocking(context.blocking.threads(), work);
    if (n < 0 || (n == 0 && length_known)) {
      // It has shrunk, or the disk failed: what was sent must not be taken for the file.
      exchange.abort();
      co_return;
    }
    if (n == 0) break;
    auto written = co_await exchange.write(asio::buffer(piece.data(), static_cast<size_t>(n)));
    if (!written) co_return;
    position += static_cast<uint64_t>(n);
    rest -= std::min(rest, static_cast<uint64_t>(n));
  }
  auto ended = co_await exchange.end();
  if (!ended) co_return;
}

Task<void> download(Context& context, http::Exchange& exchange, const std::string& path) {
  const http::RequestHead& request = exchange.head();
  if (!accepts_identity(request.header("Accept-Encoding"))) {
    co_await send_error(exchange, 406, "no acceptable content encoding");
    co_return;
  }
  auto open = [&] { return open_for_download(path); };
  auto opened = co_await run_blocking(context.blocking.threads(), open);
  if (!opened) {
    co_await send_error(exchange, files_status(opened.error()), opened.error().message());
    co_return;
  }
  const struct stat& info = opened.value().info;
  auto size = static_cast<uint64_t>(info.st_size);
  std::string modified = http_date(info.st_mtim.tv_sec);
  http::ResponseHead head;
  head.fields.set(http::Field::content_type, "application/octet-stream");
  head.fields.set(http::Field::content_disposition, "inline");
  head.fields.set(http::Field::last_modified, modified);
  head.fields.set(http::Field::accept_ranges, "bytes");
  head.fields.set(http::Field::vary, "Accept-Encoding");
  allow_origin(request, head.fields);

  if (request.header("If-Modified-Since") == modified && request.header("Range").empty()) {
    http::Response unchanged = http::Response::empty(304);
    unchanged.fields = head.fields;
    unchanged.fields.erase(http::Field::content_type);
    co_await send(exchange, std::move(unchanged));
    co_return;
  }
  std::string_view condition = request.header("If-Range");
  bool use_range = condition.empty() || condition == modified;
  Range range;
  RangeKind kind = parse_range(use_range ? request.header("Range") : "", size, range);
  if (kind == RangeKind::unsatisfiable) {
    http::Response refusal = http::Response::empty(416);
    refusal.fields.set(http::Field::content_range, "bytes */" + std::to_string(size));
    co_await send(exchange, std::move(refusal));
    co_return;
  }
  bool length_known = size > 0;
  char probe = 0;
  if (!length_known) length_known = ::pread(opened.value().file.get(), &probe, 1, 0) <= 0;
  if (kind == RangeKind::part) {
    head.status = 206;
    head.fields.set(http::Field::content_range, "bytes " + std::to_string(range.first) + "-" +
                                                    std::to_string(range.first + range.length - 1) +
                                                    "/" + std::to_string(size));
  }
  if (length_known) head.fields.set(http::Field::content_length, std::to_string(range.length));
  co_await send_content(context, exchange, std::move(head), opened.value().file, range,
                        length_known);
}

}  // namespace

Result<void> FilesRest::authorize(const http::RequestHead& head) const {
  const std::string& token = context_.identity.access_token();
  if (token.empty()) return ok();
  std::string_view given = head.header("X-Access-Token");
  if (!given.empty()) {
    if (wire::equal_secrets(given, token)) return ok();
    return Error(ErrorCode::unauthenticated, "access token present in header but does not match");
  }
  auto signature = head.parameter("signature");
  if (!signature) return Error(ErrorCode::unauthenticated, "missing signature query parameter");
  std::string path = head.parameter("path").value_or("");
  std::string user = head.parameter("username").value_or("");
  wire::FileGrant grant{path, head.method == http::Verb::get ? "read" : "write", user, {}};
  if (auto expiration = head.parameter("signature_expiration")) {
    auto seconds = parse_number(*expiration);
    if (!seconds || *seconds > INT64_MAX)
      return Error(ErrorCode::unauthenticated, "invalid signature");
    grant.expires = static_cast<int64_t>(*seconds);
  }
  return wire::verify_signature(grant, token, *signature, std::time(nullptr));
}

Task<void> FilesRest::handle(http::Exchange& exchange) {
  const http::RequestHead& head = exchange.head();
  auto allowed = authorize(head);
  auto user = allowed ? find_user(context_, head.parameter("username").value_or(""))
                      : Result<User>(std::move(allowed).error());
  if (!user) {
    co_await send_error(exchange, files_status(user.error()), user.error().message());
    co_return;
  }
  if (head.method == http::Verb::get) {
    auto path = resolve_path(head.parameter("path").value_or(""), user.value().home,
                             context_.identity.default_workdir());
    if (path) {
      co_await download(context_, exchange, path.value());
    } else {
      co_await send_error(exchange, files_status(path.error()), path.error().message());
    }
    co_return;
  }
  auto metadata = metadata_of(head);
  Owner owner{user.value().uid, user.value().gid, context_.settings.change_user};
  UploadRequest request{
      context_, exchange, std::move(user.value()), owner, head.parameter("path"), {}, {}, {}};
  if (request.path && request.path->empty()) request.path.reset();
  Result<void> received = ok();
  if (metadata) {
    request.metadata = std::move(metadata.value());
    received = co_await receive(request);
  } else {
    received = std::move(metadata).error();
  }
  if (received) {
    co_await send_json(exchange, 200, describe_stored(request));
  } else {
    co_await send_error(exchange, files_status(received.error()), received.error().message());
  }
}

}  // namespace hako::guest
