// What clients of the Model Context Protocol may send: lines cut anywhere, messages, arguments of
// tools; and what commands in boxes may write, as it is shown.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "mcp/arguments.h"
#include "mcp/lines.h"
#include "mcp/message.h"
#include "mcp/text.h"
#include "wire/json_text.h"

namespace {

namespace json = boost::json;
using namespace hako::mcp;
using Kind = Parameter::Kind;

constexpr size_t kMostLine = 200;
constexpr std::string_view kWords[] = {"one", "two"};
constexpr Parameter kParameters[] = {
    {.name = "text", .description = "any", .required = true, .most = 100},
    {.name = "word", .description = "one of", .words = kWords},
    {.name = "number", .kind = Kind::integer, .description = "n", .least = -5, .most = 5, .usual = 1},
    {.name = "flag", .kind = Kind::boolean, .description = "f"},
    {.name = "list", .kind = Kind::texts, .description = "l"},
    {.name = "map", .kind = Kind::text_map, .description = "m"},
};

void require(bool holds) {
  if (!holds) std::abort();
}

using Lines = std::vector<std::pair<std::string, bool>>;

Lines lines_of(std::string_view bytes, size_t piece) {
  LineReader reader(kMostLine);
  Lines lines;
  while (!bytes.empty()) {
    size_t n = std::min(piece, bytes.size());
    reader.feed(bytes.substr(0, n));
    bytes.remove_prefix(n);
    while (auto line = reader.next()) {
      require(line->text.size() <= kMostLine && line->text.find('\n') == line->text.npos);
      lines.emplace_back(line->text, line->too_long);
    }
    require(reader.held() <= kMostLine + piece);
  }
  return lines;
}

void try_arguments(json::object values) {
  auto checked = Arguments::check(kParameters, std::move(values));
  if (!checked) {
    require(!checked.error().message().empty() && checked.error().message().size() < 512);
    require(hako::wire::is_utf8(checked.error().message()));
    return;
  }
  const Arguments& given = checked.value();
  require(given.has("text") && given.text("text").size() <= 100);
  std::string word = given.text("word");
  require(word.empty() || word == "one" || word == "two");
  require(*given.number("number") >= -5 && *given.number("number") <= 5);
  for (const std::string& text : given.texts("list")) require(text.find('\0') == text.npos);
  for (const auto& [name, text] : given.pairs("map"))
    require(!name.empty() && name.find('=') == name.npos && text.size() <= 4096);
}

void try_message(std::string_view text) {
  auto parsed = parse_message(text);
  if (!parsed.message) {
    const Malformed& why = parsed.malformed;
    require(why.code < 0 && !why.text.empty() && why.text.size() < 200);
    require(why.id.is_null() || is_id(why.id));
    auto answer = json::serialize(error_message(why.id, why.code, why.text));
    require(answer.find('\n') == answer.npos);
    return;
  }
  const Message& message = *parsed.message;
  bool asks = message.kind == Message::Kind::request;
  require(asks ? is_id(message.id) && !message.method.empty() : true);
  require(message.kind != Message::Kind::notification || message.id.is_null());
  if (asks) {
    // What is answered is a message again, with the same id.
    auto answer = json::serialize(result_message(message.id, json::object()));
    auto again = parse_message(answer);
    require(again.message && again.message->kind == Message::Kind::response);
    require(again.message->id == message.id);
    require(answer.find('\n') == answer.npos);
  }
  require(quotable(message.method).size() <= 64 && hako::wire::is_utf8(quotable(message.method)));
  try_arguments(message.params);
}

void try_output(std::string_view bytes) {
  constexpr size_t kMost = 64;
  Shown whole(kMost), pieces(kMost);
  whole.add(bytes);
  for (char c : bytes) pieces.add({&c, 1});
  require(whole.total() == bytes.size() && pieces.total() == bytes.size());
  require(whole.beginning() == pieces.beginning() && whole.end() == pieces.end());
  require(whole.beginning().size() + whole.end().size() <= kMost);
  require(whole.is_cut() || whole.next_offset() == bytes.size());
  require(hako::wire::is_utf8(whole.beginning()) && hako::wire::is_utf8(whole.end()));
  require(whole.last_line().find('\n') == std::string::npos && whole.last_line().size() <= 160);
  require(whole_size(bytes) <= bytes.size() && bytes.size() - whole_size(bytes) < 4);
  if (hako::wire::is_utf8(bytes)) {
    require(whole_size(bytes) == bytes.size());
    require(hako::wire::is_utf8(bytes.substr(0, whole_characters(bytes, kMost))));
    require(hako::wire::is_utf8(ending(bytes, kMost)));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: bytes looked at as text.
  std::string_view text(reinterpret_cast<const char*>(data), size);
  require(lines_of(text, 1) == lines_of(text, 77));
  require(lines_of(text, 1) == lines_of(text, 1 << 20));
  try_message(text);
  try_output(text);
  json::error_code bad;
  auto value = json::parse(json::string_view(text.data(), text.size()), bad);
  if (!bad && value.is_object()) try_arguments(std::move(value.get_object()));
  return 0;
}
