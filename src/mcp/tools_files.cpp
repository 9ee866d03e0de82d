// Tools about files in boxes.
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <charconv>

#include "base/encoding.h"
#include "mcp/text.h"
#include "mcp/tool.h"
#include "wire/filesystem.h"
#include "wire/json_text.h"

namespace hako::mcp {
namespace json = boost::json;

namespace {

constexpr size_t kLargestEdited = 2 << 20;
constexpr size_t kEntriesShown = 500;
constexpr size_t kPiece = 64 << 10;
constexpr std::chrono::seconds kFileTime{60};

std::string files_target(const Arguments& arguments, const std::string& path) {
  std::string target = "/files?path=" + percent_encode(path);
  if (arguments.has("user")) target += "&username=" + percent_encode(arguments.text("user"));
  return target;
}

enum class Ask { part, whole };

/// A piece of a file, and how large all of it is, where that is known.
struct Piece {
  std::string bytes;
  std::optional<uint64_t> size;
  bool more = false;
};

/// The size in "bytes 0-9/100".
std::optional<uint64_t> size_in_range(std::string_view header) {
  size_t slash = header.rfind('/');
  if (slash == header.npos) return std::nullopt;
  std::string_view digits = header.substr(slash + 1);
  uint64_t size = 0;
  auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
  if (failed != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return size;
}

/// Reads the body of an answer that begins at byte `at` of the file: what lies between `offset` and
/// `offset + limit`.
Task<Result<Piece>> take_piece(http::Client& client, uint64_t at, uint64_t offset, size_t limit) {
  Piece piece;
  std::vector<char> buffer(kPiece);
  for (;;) {
    HAKO_CO_TRY(size_t n, co_await client.read_some(asio::buffer(buffer)));
    if (n == 0) break;
    std::string_view bytes(buffer.data(), n);
    size_t before = at < offset ? size_t(std::min<uint64_t>(offset - at, n)) : 0;
    at += n;
    bytes.remove_prefix(before);
    size_t room = limit - piece.bytes.size();
    if (bytes.size() > room) {
      piece.more = true;
      bytes = bytes.substr(0, room);
    }
    piece.bytes += bytes;
    if (piece.more) co_return piece;
  }
  piece.size = at;
  co_return piece;
}

Task<Result<Piece>> read_piece(ToolCall& call, std::string box, std::string path, uint64_t offset,
                               size_t limit, Ask ask) {
  HAKO_CO_TRY(auto client, co_await call.api.connect());
  http::Request request =
      call.api.prepare_for(box, "", http::Verb::get, files_target(call.arguments, path));
  // One byte further tells whether there is more, where nobody says how long it is.
  if (ask == Ask::part)
    request.fields.set(http::Field::range, "bytes=" + std::to_string(offset) + "-" +
                                               std::to_string(offset + limit));
  HAKO_CO_TRY(auto head, co_await client.start(std::move(request)));
  // Files of the kernel have no size, and content all the same.
  if (head.status == 416 && offset == 0)
    co_return co_await read_piece(call, box, path, offset, limit, Ask::whole);
  if (head.status == 416) {
    Piece nothing;
    nothing.size = size_in_range(std::string(head.fields["Content-Range"]));
    co_return nothing;
  }
  if (head.status != 200 && head.status != 206) {
    auto told = co_await take_piece(client, 0, 0, kPiece);
    co_return error_of(head.status, told ? told.value().bytes : std::string());
  }
  uint64_t at = head.status == 206 ? offset : 0;
  HAKO_CO_TRY(auto piece, co_await take_piece(client, at, offset, limit));
  if (auto size = size_in_range(std::string(head.fields["Content-Range"]))) piece.size = size;
  co_return piece;
}

Task<Result<Piece>> read_in_time(ToolCall& call, std::string box, std::string path, uint64_t offset,
                                 size_t limit) {
  auto reading =
      read_piece(call, std::move(box), std::move(path), offset, limit, Ask::part);
  auto piece = co_await with_deadline(kFileTime, std::move(reading));
  if (!piece && piece.error().code() == ErrorCode::timed_out)
    co_return Error(ErrorCode::timed_out, "the file could not be read in time");
  co_return piece;
}

/// Writes a file, and says how it is called in full.
Task<Result<std::string>> put_file(ToolCall& call, std::string box, std::string path,
                                   std::string content) {
  http::Request request =
      call.api.prepare_for(box, "", http::Verb::post, files_target(call.arguments, path));
  request.fields.set(http::Field::content_type, "application/octet-stream");
  request.body = std::move(content);
  HAKO_CO_TRY(auto response, co_await call.api.exchange(std::move(request), kFileTime));
  if (response.status != 200) co_return error_of(response.status, response.body);
  json::error_code failed;
  json::value answer = json::parse(response.body, failed);
  if (!failed && answer.is_array() && !answer.get_array().empty())
    path = text_in(answer.get_array()[0], "path");
  co_return path;
}

std::string_view word_for(wire::FileType type) {
  switch (type) {
    case wire::FileType::file:
      return "file";
    case wire::FileType::directory:
      return "directory";
    case wire::FileType::symlink:
      return "symlink";
    case wire::FileType::unspecified:
      break;
  }
  return "other";
}

json::object told_entry(const wire::EntryInfo& entry) {
  json::object told;
  told["path"] = valid_utf8(entry.path);
  std::string_view type = word_for(entry.type);
  told["type"] = json::string_view(type.data(), type.size());
  if (entry.type == wire::FileType::file) told["size"] = entry.size;
  told["mode"] = entry.permissions;
  if (entry.symlink_target) told["target"] = valid_utf8(*entry.symlink_target);
  return told;
}

size_t count_of(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

std::string replaced(std::string_view text, std::string_view part, std::string_view other) {
  std::string result;
  size_t from = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, from)) {
    result.append(text.substr(from, at - from)).append(other);
    from = at + part.size();
  }
  return result.append(text.substr(from));
}

}  // namespace

Task<Result<json::object>> read_file(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  uint64_t offset = uint64_t(*call.arguments.number("offset"));
  size_t limit = size_t(*call.arguments.number("limit"));
  HAKO_CO_TRY(auto piece,
              co_await read_in_time(call, box, call.arguments.text("path"), offset, limit));
  std::string wanted = call.arguments.text("encoding");
  if (piece.more && wanted != "base64") {
    // A character that is cut in two comes whole with the next part.
    size_t whole = whole_size(piece.bytes);
    if (whole > 0) piece.bytes.resize(whole);
  }
  bool is_text = wire::is_utf8(piece.bytes) && piece.bytes.find('\0') == std::string::npos;
  bool as_text = wanted.empty() ? is_text : wanted == "utf-8";
  json::object answer;
  answer["content"] = as_text ? valid_utf8(piece.bytes) : base64_encode(piece.bytes);
  answer["encoding"] = as_text ? "utf-8" : "base64";
  answer["offset"] = offset;
  answer["bytes"] = piece.bytes.size();
  if (piece.size) answer["size"] = *piece.size;
  if (piece.more) answer["next_offset"] = offset + piece.bytes.size();
  co_return answer;
}

Task<Result<json::object>> write_file(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  std::string content = call.arguments.text("content");
  if (call.arguments.text("encoding") == "base64") {
    auto decoded = base64_decode(content);
    if (!decoded) co_return Error(ErrorCode::invalid_argument, "'content' is not base64");
    content = std::move(*decoded);
  }
  size_t size = content.size();
  HAKO_CO_TRY(auto path,
              co_await put_file(call, box, call.arguments.text("path"), std::move(content)));
  json::object answer;
  answer["path"] = valid_utf8(path);
  answer["bytes"] = size;
  co_return answer;
}

Task<Result<json::object>> edit_file(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  std::string old_text = call.arguments.text("old_text");
  std::string path = call.arguments.text("path");
  if (old_text.empty()) co_return Error(ErrorCode::invalid_argument, "'old_text' is empty");
  HAKO_CO_TRY(auto piece, co_await read_in_time(call, box, path, 0, kLargestEdited));
  if (piece.more)
    co_return Error(ErrorCode::too_large, "the file is over " + std::to_string(kLargestEdited) +
                                              " bytes: edit it with a command");
  size_t count = count_of(piece.bytes, old_text);
  if (count == 0)
    co_return Error(ErrorCode::not_found, "'old_text' is not in the file: read it first");
  if (count > 1 && !call.arguments.flag("all"))
    co_return Error(ErrorCode::failed_precondition,
                    "'old_text' is there " + std::to_string(count) +
                        " times: give more of what is around it, or set 'all'");
  std::string content = replaced(piece.bytes, old_text, call.arguments.text("new_text"));
  size_t size = content.size();
  HAKO_CO_TRY(auto written, co_await put_file(call, box, path, std::move(content)));
  json::object answer;
  answer["path"] = valid_utf8(written);
  answer["replaced"] = count;
  answer["bytes"] = size;
  co_return answer;
}

Task<Result<json::object>> list_files(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  std::string path = call.arguments.has("path") ? call.arguments.text("path") : ".";
  json::object body;
  body["path"] = path;
  body["depth"] = *call.arguments.number("depth");
  HAKO_CO_TRY(auto answer,
              co_await call.api.daemon(box, call.arguments.text("user"),
                                       "filesystem.Filesystem/ListDir", std::move(body)));
  const json::value* entries = wire::find_member(answer, "entries");
  json::array shown;
  size_t offset = size_t(*call.arguments.number("offset"));
  size_t total = 0;
  if (entries && entries->is_array()) {
    total = entries->get_array().size();
    for (size_t i = offset; i < total && shown.size() < kEntriesShown; ++i) {
      const json::value& entry = entries->get_array()[i];
      if (!entry.is_object()) co_return Error(ErrorCode::corrupted, "the box's answer is no list");
      HAKO_CO_TRY(auto parsed, wire::parse_entry(entry.get_object()));
      shown.emplace_back(told_entry(parsed));
    }
  }
  json::object listed;
  listed["path"] = path;
  size_t next = offset + shown.size();
  listed["entries"] = std::move(shown);
  listed["total"] = total;
  if (next < total) listed["next_offset"] = next;
  co_return listed;
}

}  // namespace hako::mcp
