// The binary form of messages (Protocol Buffers) that all other code knows as JSON. No I/O.
#pragma once

#include <boost/json/object.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::wire {

enum class ProtoKind : uint8_t {
  text,
  bytes,  ///< base64 in JSON
  boolean,
  int64,
  uint32,
  sint32,       ///< zigzag
  enumeration,  ///< a name in JSON
  message,
  timestamp,  ///< google.protobuf.Timestamp, RFC 3339 in JSON
  text_map,   ///< map<string, string>
};

struct ProtoMessage;

struct ProtoEnumValue {
  int32_t number;
  std::string_view name;
};

struct ProtoField {
  uint32_t number;
  std::string_view name;  ///< as in JSON
  ProtoKind kind;
  const ProtoMessage* message = nullptr;    ///< of kind `message`
  std::span<const ProtoEnumValue> names{};  ///< of kind `enumeration`
  bool repeated = false;                    ///< only for `text` and `message`
  uint8_t oneof = 0;                        ///< of fields with the same number, one is set
};

/// What a message may hold. Messages that contain themselves are not provided for.
struct ProtoMessage {
  std::span<const ProtoField> fields;
};

/// The JSON that a binary message stands for. Unknown fields are passed over, as is one of another
/// wire type than it should have; fields that are not there are not in the JSON either.
/// invalid_argument: not well-formed, text that is not UTF-8, more than 100,000 elements.
Result<boost::json::object> proto_to_json(const ProtoMessage& message, std::string_view bytes);

/// Appends the binary form. Members that `message` does not know are left out.
/// internal: a member is not of the type it should have.
Result<void> append_proto(std::string& out, const ProtoMessage& message,
                          const boost::json::object& json);

}  // namespace hako::wire
