#include "wire/proto.h"

#include <boost/json/array.hpp>

#include <charconv>

#include "base/clock.h"
#include "base/encoding.h"
#include "wire/json_text.h"

namespace hako::wire {
namespace json = boost::json;
namespace {

constexpr size_t kMostElements = 100'000;

enum class WireType : uint8_t { varint = 0, fixed64 = 1, sized = 2, fixed32 = 5 };

Error bad_proto(std::string_view what) {
  return Error(ErrorCode::invalid_argument, "malformed protobuf: " + std::string(what));
}

WireType wire_type_of(ProtoKind kind) {
  switch (kind) {
    case ProtoKind::boolean:
    case ProtoKind::int64:
    case ProtoKind::uint32:
    case ProtoKind::sint32:
    case ProtoKind::enumeration:
      return WireType::varint;
    default:
      return WireType::sized;
  }
}

const ProtoField* find_field(const ProtoMessage& message, uint64_t number) {
  for (const auto& field : message.fields)
    if (field.number == number) return &field;
  return nullptr;
}

json::value text_value(std::string_view text) {
  return json::string(text);
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  bool done() const { return rest_.empty(); }

  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return bad_proto("it ends too early");
      auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    return bad_proto("a number is too long");
  }

  Result<std::string_view> take(uint64_t count) {
    if (count > rest_.size()) return bad_proto("it ends too early");
    std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  Result<std::string_view> sized() {
    HAKO_TRY(auto length, varint());
    return take(length);
  }

  Result<void> skip(WireType type) {
    switch (type) {
      case WireType::varint: {
        HAKO_TRYV(varint());
        return ok();
      }
      case WireType::fixed64: {
        HAKO_TRYV(take(8));
        return ok();
      }
      case WireType::fixed32: {
        HAKO_TRYV(take(4));
        return ok();
      }
      case WireType::sized: {
        HAKO_TRYV(sized());
        return ok();
      }
    }
    return bad_proto("unknown wire type");
  }

 private:
  std::string_view rest_;
};

class Decoder {
 public:
  /// Adds to `into`: a message that comes in several pieces is all of them together.
  Result<void> decode(const ProtoMessage& message, std::string_view bytes, json::object& into) {
    Reader reader(bytes);
    while (!reader.done()) {
      HAKO_TRY(auto tag, reader.varint());
      auto type = static_cast<WireType>(tag & 7);
      if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return bad_proto("bad field number");
      const ProtoField* field = find_field(message, tag >> 3);
      if (!field || type != wire_type_of(field->kind)) {
        HAKO_TRYV(reader.skip(type));
        continue;
      }
      if (++elements_ > kMostElements) return bad_proto("too many elements");
      if (field->oneof != 0) drop_others(message, *field, into);
      if (type == WireType::varint) {
        HAKO_TRY(auto number, reader.varint());
        into[field->name] = scalar(*field, number);
      } else {
        HAKO_TRY(auto content, reader.sized());
        HAKO_TRYV(decode_sized(*field, content, into));
      }
    }
    return ok();
  }

 private:
  static void drop_others(const ProtoMessage& message, const ProtoField& field,
                          json::object& into) {
    for (const auto& other : message.fields)
      if (other.oneof == field.oneof && other.number != field.number) into.erase(other.name);
  }

  static json::value scalar(const ProtoField& field, uint64_t number) {
    switch (field.kind) {
      case ProtoKind::boolean:
        return number != 0;
      case ProtoKind::int64:
        return static_cast<int64_t>(number);
      case ProtoKind::sint32: {
        auto folded = static_cast<uint32_t>(number);
        return static_cast<int64_t>(static_cast<int32_t>(folded >> 1 ^ (0u - (folded & 1))));
      }
      case ProtoKind::enumeration: {
        auto value = static_cast<int32_t>(number);
        for (const auto& known : field.names)
          if (known.number == value) return text_value(known.name);
        return static_cast<int64_t>(value);
      }
      default:
        return static_cast<int64_t>(static_cast<uint32_t>(number));
    }
  }

  Result<void> decode_sized(const ProtoField& field, std::string_view content, json::object& into) {
    switch (field.kind) {
      case ProtoKind::text: {
        if (!is_utf8(content)) return bad_proto("a string is not UTF-8");
        add(field, into, text_value(content));
        return ok();
      }
      case ProtoKind::bytes:
        into[field.name] = text_value(base64_encode(content));
        return ok();
      case ProtoKind::timestamp:
        return decode_timestamp(content, into[field.name]);
      case ProtoKind::text_map:
        return decode_pair(content, into[field.name]);
      default:
        break;
    }
    if (field.repeated) {
      json::object element;
      HAKO_TRYV(decode(*field.message, content, element));
      add(field, into, std::move(element));
      return ok();
    }
    json::value& place = into[field.name];
    if (!place.is_object()) place.emplace_object();
    return decode(*field.message, content, place.get_object());
  }

  static void add(const ProtoField& field, json::object& into, json::value value) {
    json::value& place = into[field.name];
    if (!field.repeated) {
      place = std::move(value);
      return;
    }
    if (!place.is_array()) place.emplace_array();
    place.get_array().push_back(std::move(value));
  }

  static Result<void> decode_pair(std::string_view content, json::value& place) {
    Reader reader(content);
    std::string_view parts[2];
    while (!reader.done()) {
      HAKO_TRY(auto tag, reader.varint());
      auto type = static_cast<WireType>(tag & 7);
      uint64_t number = tag >> 3;
      if (type != WireType::sized || number < 1 || number > 2) {
        HAKO_TRYV(reader.skip(type));
        continue;
      }
      HAKO_TRY(auto text, reader.sized());
      if (!is_utf8(text)) return bad_proto("a string is not UTF-8");
      parts[number - 1] = text;
    }
    if (!place.is_object()) place.emplace_object();
    place.get_object()[parts[0]] = text_value(parts[1]);
    return ok();
  }

  static Result<void> decode_timestamp(std::string_view content, json::value& place) {
    Reader reader(content);
    uint64_t parts[2] = {};
    while (!reader.done()) {
      HAKO_TRY(auto tag, reader.varint());
      auto type = static_cast<WireType>(tag & 7);
      uint64_t number = tag >> 3;
      if (type != WireType::varint || number < 1 || number > 2) {
        HAKO_TRYV(reader.skip(type));
        continue;
      }
      HAKO_TRY(auto value, reader.varint());
      parts[number - 1] = value;
    }
    // What the format allows: the years 1 to 9999.
    auto seconds = static_cast<int64_t>(parts[0]);
    if (seconds < -62'135'596'800 || seconds > 253'402'300'799 || parts[1] > 999'999'999)
      return bad_proto("a time is out of range");
    std::string text;
    append_json_time(text, seconds, static_cast<uint32_t>(parts[1]));
    place = text_value(std::string_view(text).substr(1, text.size() - 2));
    return ok();
  }

  size_t elements_ = 0;
};

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void append_tag(std::string& out, uint32_t number, WireType type) {
  append_varint(out, uint64_t{number} << 3 | static_cast<uint8_t>(type));
}

void append_sized(std::string& out, uint32_t number, std::string_view content) {
  append_tag(out, number, WireType::sized);
  append_varint(out, content.size());
  out.append(content);
}

Error mistyped(const ProtoField& field) {
  return Error(ErrorCode::internal, "field '" + std::string(field.name) + "' has another type");
}

Result<int64_t> number_of(const ProtoField& field, const json::value& value) {
  if (auto* flag = value.if_bool()) return *flag ? 1 : 0;
  if (auto* number = value.if_int64()) return *number;
  if (auto* number = value.if_uint64()) return static_cast<int64_t>(*number);
  if (auto* text = value.if_string()) {
    std::string_view digits(text->data(), text->size());
    for (const auto& known : field.names)
      if (known.name == digits) return known.number;
    int64_t number = 0;
    const char* end = digits.data() + digits.size();
    auto [stop, problem] = std::from_chars(digits.data(), end, number);
    if (problem == std::errc() && stop == end) return number;
  }
  return mistyped(field);
}

Result<void> append_one(std::string& out, const ProtoField& field, const json::value& value) {
  if (wire_type_of(field.kind) == WireType::varint) {
    HAKO_TRY(auto number, number_of(field, value));
    append_tag(out, field.number, WireType::varint);
    auto bits = static_cast<uint64_t>(number);
    if (field.kind == ProtoKind::sint32) {
      auto narrow = static_cast<int32_t>(number);
      bits = static_cast<uint32_t>(narrow) << 1 ^ static_cast<uint32_t>(narrow >> 31);
    }
    append_varint(out, bits);
    return ok();
  }
  if (field.kind == ProtoKind::message) {
    auto* object = value.if_object();
    if (!object) return mistyped(field);
    std::string content;
    HAKO_TRYV(append_proto(content, *field.message, *object));
    append_sized(out, field.number, content);
    return ok();
  }
  if (field.kind == ProtoKind::text_map) {
    auto* object = value.if_object();
    if (!object) return mistyped(field);
    for (const auto& [key, element] : *object) {
      auto* text = element.if_string();
      if (!text) return mistyped(field);
      std::string pair;
      append_sized(pair, 1, key);
      append_sized(pair, 2, *text);
      append_sized(out, field.number, pair);
    }
    return ok();
  }
  auto* text = value.if_string();
  if (!text) return mistyped(field);
  if (field.kind == ProtoKind::bytes) {
    auto bytes = base64_decode(*text);
    if (!bytes) return mistyped(field);
    append_sized(out, field.number, *bytes);
    return ok();
  }
  if (field.kind == ProtoKind::timestamp) {
    auto time = from_rfc3339(*text);
    if (!time) return ok();  // outside what the reader of times knows: better none than a wrong one
    auto since = time->time_since_epoch();
    auto seconds = std::chrono::floor<std::chrono::seconds>(since);
    std::string parts;
    append_tag(parts, 1, WireType::varint);
    append_varint(parts, static_cast<uint64_t>(seconds.count()));
    append_tag(parts, 2, WireType::varint);
    append_varint(
        parts, static_cast<uint64_t>(
                   std::chrono::duration_cast<std::chrono::nanoseconds>(since - seconds).count()));
    append_sized(out, field.number, parts);
    return ok();
  }
  append_sized(out, field.number, *text);
  return ok();
}

}  // namespace

Result<json::object> proto_to_json(const ProtoMessage& message, std::string_view bytes) {
  json::object object;
  HAKO_TRYV(Decoder().decode(message, bytes, object));
  return object;
}

Result<void> append_proto(std::string& out, const ProtoMessage& message,
                          const json::object& object) {
  for (const auto& field : message.fields) {
    auto* value = find_member(object, field.name);
    if (!value) continue;
    if (!field.repeated) {
      HAKO_TRYV(append_one(out, field, *value));
      continue;
    }
    auto* array = value->if_array();
    if (!array) return mistyped(field);
    for (const auto& element : *array) {
      HAKO_TRYV(append_one(out, field, element));
    }
  }
  return ok();
}

}  // namespace hako::wire
