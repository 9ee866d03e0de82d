#include "guest/download.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "base/fd.h"
#include "guest/gzip.h"
#include "guest/headers.h"

namespace hako::guest {
namespace {

constexpr size_t kReadPiece = 256 << 10;

struct OpenedFile {
  Fd file;
  struct stat info {};

  /// Changes with every change of the content.
  std::string tag() const {
    std::array<char, 64> text;
    int length = std::snprintf(text.data(), text.size(), "\"%llx-%llx-%llx\"",
                               static_cast<unsigned long long>(info.st_mtim.tv_sec),
                               static_cast<unsigned long long>(info.st_mtim.tv_nsec),
                               static_cast<unsigned long long>(info.st_size));
    return std::string(text.data(), static_cast<size_t>(length));
  }
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

/// What is sent of a file, and how.
struct Sending {
  const Fd& file;
  Range range;
  bool length_known = true;  ///< false for files that have content but say 0 (/proc)
  Encoding encoding = Encoding::identity;
};

/// Sends behind `head` what `sending` says. Cuts the connection when that turns out not to be
/// there: what was sent must not be taken for the file.
Task<void> send_content(Context& context, http::Exchange& exchange, http::ResponseHead head,
                        Sending sending) {
  const bool known = sending.length_known;
  std::vector<char> piece(
      std::min<uint64_t>(kReadPiece, known ? sending.range.length : kReadPiece));
  uint64_t position = sending.range.first, rest = sending.range.length;
  std::optional<Compressor> compressor;
  if (sending.encoding == Encoding::gzip) compressor.emplace();
  std::string compressed;
  bool broken = false, last = false;
  // Reads the next piece; the bytes to send are in `piece` or, compressed, in `compressed`.
  auto work = [&]() -> size_t {
    size_t wanted = known ? std::min<uint64_t>(piece.size(), rest) : piece.size();
    ssize_t n = wanted == 0 ? 0
                            : ::pread(sending.file.get(), piece.data(), wanted,
                                      static_cast<off_t>(position));
    broken = n < 0 || (n == 0 && wanted > 0 && known);
    if (broken) return 0;
    auto count = static_cast<size_t>(n);
    position += count;
    if (known) rest -= count;
    last = known ? rest == 0 : count == 0;
    if (!compressor) return count;
    compressed.clear();
    compressor->add({piece.data(), count}, last, compressed);
    return compressed.size();
  };
  for (bool first = true; !last; first = false) {
    size_t count = co_await run_blocking(context.blocking.threads(), work);
    if (broken) {
      exchange.abort();
      co_return;
    }
    auto bytes = asio::buffer(compressor ? compressed.data() : piece.data(), count);
    Result<void> sent = ok();
    if (first) {
      sent = co_await exchange.begin_with(std::move(head), bytes);
    } else if (!last) {
      sent = co_await exchange.write(bytes);
    } else {
      sent = co_await exchange.end_with(bytes);
    }
    if (!sent) co_return;
    if (first && last) sent = co_await exchange.end();
  }
}

Task<void> send_refusal(http::Exchange& exchange, unsigned status, http::Fields fields) {
  http::Response response = http::Response::empty(status);
  response.fields = std::move(fields);
  response.fields.erase(http::Field::content_type);
  co_await send(exchange, std::move(response));
}

}  // namespace

Task<void> download(Context& context, http::Exchange& exchange, const std::string& path) {
  const http::RequestHead& request = exchange.head();
  auto open = [&] { return open_for_download(path); };
  auto opened = co_await run_blocking(context.blocking.threads(), open);
  if (!opened) {
    co_await send_error(exchange, rest_status(opened.error()), opened.error().message());
    co_return;
  }
  // Parts and conditions are about the plain bytes.
  bool plain = false;
  for (const char* name : {"Range", "If-Match", "If-None-Match", "If-Modified-Since",
                           "If-Unmodified-Since", "If-Range"})
    plain = plain || !request.header(name).empty();
  std::string_view accepted = request.header("Accept-Encoding");
  auto encoding = choose_encoding(accepted);
  if (plain)
    encoding = accepts_identity(accepted) ? std::optional(Encoding::identity) : std::nullopt;
  if (!encoding) {
    co_await send_error(exchange, 406, "no acceptable encoding found, supported: [identity, gzip]");
    co_return;
  }
  const struct stat& info = opened.value().info;
  auto size = static_cast<uint64_t>(info.st_size);
  time_t modified = info.st_mtim.tv_sec;
  std::string tag = opened.value().tag();
  http::ResponseHead head;
  head.fields.set(http::Field::content_type, "application/octet-stream");
  head.fields.set(http::Field::content_disposition, "inline");
  head.fields.set(http::Field::last_modified, http_date(modified));
  // Of the compressed form the tag promises the same content, not the same bytes.
  head.fields.set(http::Field::etag, encoding == Encoding::gzip ? "W/" + tag : tag);
  head.fields.set(http::Field::accept_ranges, "bytes");
  head.fields.set(http::Field::vary, "Accept-Encoding");
  allow_origin(request, head.fields);

  Condition condition = check_conditions(request, tag, modified);
  if (condition != Condition::proceed) {
    unsigned status = condition == Condition::failed ? 412 : 304;
    co_await send_refusal(exchange, status, std::move(head.fields));
    co_return;
  }
  Sending sending{opened.value().file, {}, size > 0, *encoding};
  std::string_view wanted =
      range_applies(request, tag, modified) ? request.header("Range") : std::string_view();
  RangeKind kind = parse_range(wanted, size, sending.range);
  if (kind == RangeKind::unsatisfiable) {
    head.fields.set(http::Field::content_range, "bytes */" + std::to_string(size));
    co_await send_refusal(exchange, 416, std::move(head.fields));
    co_return;
  }
  char probe = 0;
  if (!sending.length_known) sending.length_known = ::pread(sending.file.get(), &probe, 1, 0) <= 0;
  if (kind == RangeKind::part) {
    uint64_t last = sending.range.first + sending.range.length - 1;
    head.status = 206;
    head.fields.set(http::Field::content_range, "bytes " + std::to_string(sending.range.first) +
                                                    "-" + std::to_string(last) + "/" +
                                                    std::to_string(size));
  }
  if (*encoding == Encoding::gzip) {
    head.fields.set(http::Field::content_encoding, "gzip");
  } else if (sending.length_known) {
    head.fields.set(http::Field::content_length, std::to_string(sending.range.length));
  }
  co_await send_content(context, exchange, std::move(head), sending);
}

}  // namespace hako::guest
