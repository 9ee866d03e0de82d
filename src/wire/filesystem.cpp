#include "wire/filesystem.h"

#include <array>

#include "base/clock.h"
#include "wire/json_text.h"

namespace hako::wire {
namespace {

constexpr std::array<std::string_view, 4> kTypes{"FILE_TYPE_UNSPECIFIED", "FILE_TYPE_FILE",
                                                 "FILE_TYPE_DIRECTORY", "FILE_TYPE_SYMLINK"};

constexpr std::array<std::string_view, 5> kEventNames{"CREATE", "WRITE", "REMOVE", "RENAME",
                                                      "CHMOD"};

}  // namespace

void append_entry(std::string& out, const EntryInfo& entry) {
  auto text = [&](std::string_view key, std::string_view value) {
    out.append(",\"").append(key).append("\":");
    append_json_string(out, value);
  };
  out += "{\"name\":";
  append_json_string(out, entry.name);
  out += ",\"type\":\"";
  out += kTypes[static_cast<size_t>(entry.type)];
  out += '"';
  text("path", entry.path);
  out += ",\"size\":\"";
  append_json_number(out, entry.size);
  out += "\",\"mode\":";
  append_json_number(out, entry.mode);
  text("permissions", entry.permissions);
  text("owner", entry.owner);
  text("group", entry.group);
  out += ",\"modifiedTime\":";
  append_json_time(out, entry.modified_seconds, entry.modified_nanoseconds);
  if (entry.symlink_target) {
    text("symlinkTarget", *entry.symlink_target);
    out += ",\"isSymlink\":true";
  }
  if (!entry.metadata.empty()) {
    out += ",\"metadata\":{";
    for (size_t i = 0; i < entry.metadata.size(); ++i) {
      if (i > 0) out += ',';
      append_json_string(out, entry.metadata[i].first);
      out += ':';
      append_json_string(out, entry.metadata[i].second);
    }
    out += '}';
  }
  out += '}';
}

Result<EntryInfo> parse_entry(const boost::json::object& object) {
  auto read = [&]() -> Result<EntryInfo> {
    EntryInfo entry;
    HAKO_TRY(auto name, string_member(object, "name"));
    HAKO_TRY(auto path, string_member(object, "path"));
    HAKO_TRY(auto size, int_member(object, "size"));
    HAKO_TRY(auto mode, int_member(object, "mode"));
    HAKO_TRY(auto permissions, string_member(object, "permissions"));
    HAKO_TRY(auto owner, string_member(object, "owner"));
    HAKO_TRY(auto group, string_member(object, "group"));
    HAKO_TRY(auto modified, string_member(object, "modifiedTime", "modified_time"));
    HAKO_TRY(auto target, string_member(object, "symlinkTarget", "symlink_target"));
    HAKO_TRY(auto metadata, object_member(object, "metadata"));
    entry.name = name.value_or("");
    entry.path = path.value_or("");
    entry.size = size.value_or(0);
    entry.mode = static_cast<uint32_t>(mode.value_or(0));
    entry.permissions = permissions.value_or("");
    entry.owner = owner.value_or("");
    entry.group = group.value_or("");
    entry.symlink_target = std::move(target);
    if (auto time = modified ? from_rfc3339(*modified) : std::nullopt) {
      auto since = time->time_since_epoch();
      auto seconds = std::chrono::floor<std::chrono::seconds>(since);
      entry.modified_seconds = seconds.count();
      entry.modified_nanoseconds = static_cast<uint32_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(since - seconds).count());
    }
    if (auto* type = find_member(object, "type")) {
      for (size_t i = 0; i < kTypes.size(); ++i) {
        bool named = type->is_string() && std::string_view(type->get_string()) == kTypes[i];
        bool numbered = type->is_int64() && type->get_int64() == static_cast<int64_t>(i);
        if (named || numbered) entry.type = static_cast<FileType>(i);
      }
    }
    if (metadata)
      for (const auto& [key, value] : *metadata)
        if (auto* text = value.if_string())
          entry.metadata.emplace_back(std::string(key), std::string(text->data(), text->size()));
    return entry;
  };
  auto entry = read();
  if (!entry) return Error(ErrorCode::corrupted, "malformed entry: " + entry.error().message());
  return entry;
}

Result<WatchRequest> parse_watch(const boost::json::object& request) {
  WatchRequest watch;
  HAKO_TRY(auto path, string_member(request, "path"));
  HAKO_TRY(auto recursive, bool_member(request, "recursive"));
  HAKO_TRY(auto entry, bool_member(request, "includeEntry", "include_entry"));
  HAKO_TRY(auto network, bool_member(request, "allowNetworkMounts", "allow_network_mounts"));
  watch.path = path.value_or("");
  watch.recursive = recursive.value_or(false);
  watch.include_entry = entry.value_or(false);
  watch.allow_network_mounts = network.value_or(false);
  return watch;
}

void append_file_event(std::string& out, std::string_view name, EventType type,
                       const EntryInfo* entry) {
  out += "{\"name\":";
  append_json_string(out, name);
  out += ",\"type\":\"EVENT_TYPE_";
  out += kEventNames[static_cast<size_t>(type) - 1];
  out += '"';
  if (entry) {
    out += ",\"entry\":";
    append_entry(out, *entry);
  }
  out += '}';
}

std::string permission_text(std::string_view kind, uint32_t mode) {
  constexpr std::string_view kLetters = "rwxrwxrwx";
  std::string text(kind.empty() ? "-" : kind);
  for (size_t i = 0; i < kLetters.size(); ++i)
    text += mode >> (kLetters.size() - 1 - i) & 1 ? kLetters[i] : '-';
  return text;
}

}  // namespace hako::wire
