#include "engine/qemu/qmp.h"

namespace hako::engine::qmp {

namespace json = boost::json;

namespace {

Error malformed(std::string_view what) {
  return Error(ErrorCode::corrupted, "control message: " + std::string(what));
}

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  const json::string* text = value ? value->if_string() : nullptr;
  return text ? std::string(text->data(), text->size()) : std::string();
}

std::optional<int64_t> id_of(const json::object& object) {
  const json::value* id = object.if_contains("id");
  if (!id) return std::nullopt;
  if (const int64_t* number = id->if_int64()) return *number;
  return std::nullopt;
}

Result<Message> parse_greeting(const json::value& body) {
  const json::object* qmp = body.if_object();
  const json::value* version = qmp ? qmp->if_contains("version") : nullptr;
  const json::object* fields = version ? version->if_object() : nullptr;
  const json::value* qemu = fields ? fields->if_contains("qemu") : nullptr;
  const json::object* numbers = qemu ? qemu->if_object() : nullptr;
  if (!numbers) return malformed("greeting without a version");
  Greeting greeting;
  for (const char* part : {"major", "minor", "micro"}) {
    const json::value* value = numbers->if_contains(part);
    const int64_t* number = value ? value->if_int64() : nullptr;
    if (!number) return malformed("greeting without a version");
    if (!greeting.version.empty()) greeting.version += '.';
    greeting.version += std::to_string(*number);
  }
  greeting.package = text_of(*fields, "package");
  return Message(std::move(greeting));
}

}  // namespace

Result<Message> parse_message(std::string_view line) {
  json::error_code error;
  json::value value = json::parse(line, error);
  if (error) return malformed("not JSON");
  json::object* object = value.if_object();
  if (!object) return malformed("not an object");

  if (json::value* result = object->if_contains("return")) {
    Return reply{id_of(*object), std::move(*result)};
    return Message(std::move(reply));
  }
  if (const json::value* fault = object->if_contains("error")) {
    const json::object* fields = fault->if_object();
    if (!fields) return malformed("error is not an object");
    Failure failure{id_of(*object), text_of(*fields, "class"), text_of(*fields, "desc")};
    return Message(std::move(failure));
  }
  if (object->contains("event")) {
    Event event{text_of(*object, "event"), {}};
    if (event.name.empty()) return malformed("event without a name");
    json::value* data = object->if_contains("data");
    if (data && data->is_object()) event.data = std::move(data->get_object());
    return Message(std::move(event));
  }
  if (const json::value* greeting = object->if_contains("QMP")) return parse_greeting(*greeting);
  return malformed("neither reply, error, event nor greeting");
}

void Parser::feed(std::string_view bytes) {
  if (broken_) return;
  if (start_ > 0) {
    buffer_.erase(0, start_);
    scanned_ -= start_;
    start_ = 0;
  }
  buffer_.append(bytes);
}

Result<std::optional<Message>> Parser::next() {
  for (;;) {
    if (broken_) return *broken_;
    size_t end = buffer_.find('\n', scanned_);
    size_t length = (end == std::string::npos ? buffer_.size() : end) - start_;
    if (length > kMaxLine) {
      broken_ = Error(ErrorCode::too_large, "control message: line too long");
      buffer_.clear();
      continue;
    }
    if (end == std::string::npos) {
      scanned_ = buffer_.size();
      return std::optional<Message>();
    }
    std::string_view line(buffer_.data() + start_, length);
    while (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    start_ = scanned_ = end + 1;
    if (line.empty()) continue;
    auto message = parse_message(line);
    if (!message) {
      broken_ = message.error();
      continue;
    }
    return std::optional<Message>(std::move(message.value()));
  }
}

std::string format_command(std::string_view name, const json::object& arguments, int64_t id) {
  json::object command;
  command["execute"] = name;
  if (!arguments.empty()) command["arguments"] = arguments;
  command["id"] = id;
  return json::serialize(command) + "\n";
}

}  // namespace hako::engine::qmp
