#include <boost/json.hpp>

#include <algorithm>

#include "engine/snapshot_store.h"

namespace hako::engine {

namespace json = boost::json;

namespace {

constexpr int64_t kFormat = 1;

Error bad(std::string_view field) {
  return Error(ErrorCode::corrupted, "meta.json: missing or wrong: " + std::string(field));
}

/// Reads fields one after the other and keeps the first thing that is wrong.
class Reader {
 public:
  explicit Reader(const json::object& object) : object_(object) {}

  std::string text(std::string_view field, size_t limit = 4096) {
    const json::value* value = object_.if_contains(field);
    const json::string* string = value ? value->if_string() : nullptr;
    if (!string || string->size() > limit) return fail(field), std::string();
    return std::string(string->data(), string->size());
  }
  int64_t number(std::string_view field, int64_t least, int64_t most) {
    const json::value* value = object_.if_contains(field);
    const int64_t* number = value ? value->if_int64() : nullptr;
    if (!number || *number < least || *number > most) return fail(field), least;
    return *number;
  }
  std::string sha256(std::string_view field) {
    std::string digest = text(field, 64);
    bool hex = digest.size() == 64 && std::all_of(digest.begin(), digest.end(), [](char c) {
                 return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
               });
    if (!hex) fail(field);
    return digest;
  }
  void fail(std::string_view field) {
    if (!error) error = bad(field);
  }
  std::optional<Error> error;

 private:
  const json::object& object_;
};

}  // namespace

std::string format_snapshot_meta(const SnapshotMeta& meta) {
  json::object object;
  object["format"] = kFormat;
  object["vcpus"] = meta.size.vcpus;
  object["memory_mib"] = meta.size.memory_mib;
  object["engine"] = meta.fingerprint.engine;
  object["vmm_build"] = meta.fingerprint.vmm_build;
  object["isolation"] = to_string(meta.fingerprint.isolation);
  object["cpu"] = meta.fingerprint.cpu;
  object["tsc_khz"] = meta.fingerprint.tsc_khz;
  object["device_state_bytes"] = meta.device_state_bytes;
  object["device_state_sha256"] = meta.device_state_sha256;
  object["memory_sha256"] = meta.memory_sha256;
  return json::serialize(object) + "\n";
}

Result<SnapshotMeta> parse_snapshot_meta(std::string_view text) {
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object())
    return Error(ErrorCode::corrupted, "meta.json: not a JSON object");
  Reader reader(value.get_object());
  int64_t format = reader.number("format", 1, INT64_MAX);
  if (reader.error) return *reader.error;
  if (format != kFormat)
    return Error(ErrorCode::unsupported, "meta.json: format " + std::to_string(format));

  SnapshotMeta meta;
  meta.size.vcpus = static_cast<int>(reader.number("vcpus", 1, 64));
  meta.size.memory_mib = static_cast<int>(reader.number("memory_mib", 1, 256 * 1024));
  meta.fingerprint.engine = reader.text("engine");
  meta.fingerprint.vmm_build = reader.text("vmm_build");
  std::string isolation = reader.text("isolation");
  if (isolation == to_string(Isolation::hardware))
    meta.fingerprint.isolation = Isolation::hardware;
  else if (isolation != to_string(Isolation::emulated))
    reader.fail("isolation");
  meta.fingerprint.cpu = reader.text("cpu");
  meta.fingerprint.tsc_khz = reader.number("tsc_khz", 1, 100'000'000);
  meta.device_state_bytes = static_cast<size_t>(reader.number("device_state_bytes", 0, 64 << 20));
  meta.device_state_sha256 = reader.sha256("device_state_sha256");
  meta.memory_sha256 = reader.sha256("memory_sha256");
  if (reader.error) return *reader.error;
  return meta;
}

}  // namespace hako::engine
