#include "guest/receive.h"

#include <set>

#include "guest/gzip.h"
#include "guest/headers.h"
#include "guest/paths.h"
#include "guest/upload.h"
#include "wire/ascii.h"
#include "wire/json_text.h"
#include "wire/multipart.h"

namespace hako::guest {
namespace {

/// The disk sees writes of this size.
constexpr size_t kPiece = 256 << 10;
constexpr size_t kCompressedPiece = 64 << 10;
constexpr size_t kMostFiles = 10'000;
constexpr std::string_view kKeyPrefix = "user.e2b.";
constexpr size_t kLongestMetadataKey = 246;
/// What one file may have, names of the attributes included.
constexpr size_t kMostMetadata = 4096;

bool is_printable(std::string_view text) {
  for (char c : text)
    if (c < 0x20 || c > 0x7e) return false;
  return true;
}

/// The request's X-Metadata-* headers; of repeated ones the first counts.
Result<FileMetadata> metadata_of(const http::RequestHead& head) {
  constexpr std::string_view kPrefix = "x-metadata-";
  FileMetadata metadata;
  std::set<std::string> seen;
  size_t total = 0;
  for (const auto& field : head.fields) {
    std::string name(field.name_string());
    for (char& c : name)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!name.starts_with(kPrefix)) continue;
    name.erase(0, kPrefix.size());
    if (!seen.insert(name).second) continue;
    std::string value(field.value());
    if (name.empty() || !is_printable(name) || !is_printable(value))
      return Error(ErrorCode::invalid_argument,
                   "bad metadata: keys and values must be printable ASCII");
    total += kKeyPrefix.size() + name.size() + value.size();
    if (name.size() > kLongestMetadataKey || total > kMostMetadata)
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
  StoredFiles stored{};
  std::set<std::string> seen{};  ///< paths of this request
  std::optional<Decompressor> decompressor{};
  std::vector<char> compressed{};  ///< what it works on
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
  HAKO_TRYV(upload.finish(request.stored.metadata));
  request.stored.paths.push_back(upload.path());
  return ok();
}

/// More for the decompressor. False at the end of the body.
Task<Result<bool>> feed_decompressor(UploadRequest& request) {
  request.compressed.resize(kCompressedPiece);
  HAKO_CO_TRY(auto n, co_await request.exchange.read_some(asio::buffer(request.compressed)));
  if (n > 0) {
    request.decompressor->feed({request.compressed.data(), n});
    co_return true;
  }
  if (!request.decompressor->complete())
    co_return Error(ErrorCode::invalid_argument, "the gzip body ends too early");
  co_return false;
}

/// Fills `piece` from the body as far as it goes: how much, 0 at the end.
Task<Result<size_t>> read_piece(UploadRequest& request, std::vector<char>& piece) {
  size_t filled = 0;
  auto work = [&] { return request.decompressor->read(std::span(piece).subspan(filled)); };
  while (filled < piece.size()) {
    size_t n = 0;
    if (!request.decompressor) {
      HAKO_CO_TRY(n, co_await request.exchange.read_some(
                         asio::buffer(piece.data() + filled, piece.size() - filled)));
      if (n == 0) break;
    } else {
      if (request.decompressor->wants_input()) {
        HAKO_CO_TRY(bool more, co_await feed_decompressor(request));
        if (!more) break;
      }
      HAKO_CO_TRY(n, co_await run_blocking(request.context.blocking.threads(), work));
    }
    filled += n;
  }
  co_return filled;
}

Task<Result<void>> receive_plain(UploadRequest& request) {
  if (!request.path)
    co_return Error(ErrorCode::invalid_argument, "query parameter 'path' is required");
  std::optional<uint64_t> expected;
  if (!request.decompressor) expected = number_header(request.exchange.head(), "Content-Length");
  HAKO_CO_TRY(auto upload, co_await open_upload(request, *request.path, expected));
  std::vector<char> piece(kPiece);
  for (;;) {
    HAKO_CO_TRY(auto n, co_await read_piece(request, piece));
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
      HAKO_CO_TRY(auto n, co_await read_piece(request, piece));
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
  if (request.stored.paths.empty())
    co_return Error(ErrorCode::invalid_argument, "the body holds no part named 'file'");
  co_return ok();
}

Task<Result<void>> receive(UploadRequest& request) {
  const http::RequestHead& head = request.exchange.head();
  std::string_view encoding = head.header("Content-Encoding");
  if (wire::equal_ignoring_case(encoding, "gzip") || wire::equal_ignoring_case(encoding, "x-gzip")) {
    request.decompressor.emplace();
  } else if (!encoding.empty() && !wire::equal_ignoring_case(encoding, "identity")) {
    co_return Error(ErrorCode::unsupported, "content encoding is not supported");
  }
  std::string_view type = head.header("Content-Type");
  if (auto boundary = wire::multipart_boundary(type))
    co_return co_await receive_multipart(request, std::move(*boundary));
  if (type.starts_with("multipart/"))
    co_return Error(ErrorCode::invalid_argument, "malformed multipart content type");
  co_return co_await receive_plain(request);
}

}  // namespace

Task<Result<StoredFiles>> receive_files(Context& context, http::Exchange& exchange, User user,
                                        std::optional<std::string> path) {
  HAKO_CO_TRY(auto metadata, metadata_of(exchange.head()));
  Owner owner{user.uid, user.gid, context.settings.change_user};
  UploadRequest request{context, exchange, std::move(user), owner, std::move(path)};
  request.stored.metadata = std::move(metadata);
  HAKO_CO_TRYV(co_await receive(request));
  co_return std::move(request.stored);
}

std::string describe_stored(const StoredFiles& stored) {
  std::string body = "[";
  for (const auto& path : stored.paths) {
    if (body.size() > 1) body += ',';
    body += "{\"path\":";
    wire::append_json_string(body, path);
    body += ",\"name\":";
    wire::append_json_string(body, base_name(path));
    body += ",\"type\":\"file\"";
    if (!stored.metadata.empty()) {
      body += ",\"metadata\":{";
      for (size_t i = 0; i < stored.metadata.size(); ++i) {
        if (i > 0) body += ',';
        wire::append_json_string(body, stored.metadata[i].first);
        body += ':';
        wire::append_json_string(body, stored.metadata[i].second);
      }
      body += '}';
    }
    body += '}';
  }
  body += ']';
  return body;
}

}  // namespace hako::guest
