#include "wire/services.h"

#include <array>

namespace hako::wire {
namespace {

using Kind = ProtoKind;

constexpr ProtoMessage kEmpty{};

constexpr ProtoField field(uint32_t number, std::string_view name, Kind kind, uint8_t oneof = 0) {
  return {number, name, kind, nullptr, {}, false, oneof};
}
constexpr ProtoField field(uint32_t number, std::string_view name, const ProtoMessage& message,
                           uint8_t oneof = 0) {
  return {number, name, Kind::message, &message, {}, false, oneof};
}
constexpr ProtoField field(uint32_t number, std::string_view name,
                           std::span<const ProtoEnumValue> names) {
  return {number, name, Kind::enumeration, nullptr, names, false, 0};
}
constexpr ProtoField repeated(uint32_t number, std::string_view name, const ProtoMessage& message) {
  return {number, name, Kind::message, &message, {}, true, 0};
}

// process.Process

constexpr std::array kSelectorFields{field(1, "pid", Kind::uint32, 1),
                                     field(2, "tag", Kind::text, 1)};
constexpr ProtoMessage kSelector{kSelectorFields};

constexpr std::array kConfigFields{field(1, "cmd", Kind::text),
                                   ProtoField{2, "args", Kind::text, nullptr, {}, true, 0},
                                   field(3, "envs", Kind::text_map), field(4, "cwd", Kind::text)};
constexpr ProtoMessage kConfig{kConfigFields};

constexpr std::array kSizeFields{field(1, "cols", Kind::uint32), field(2, "rows", Kind::uint32)};
constexpr ProtoMessage kSize{kSizeFields};
constexpr std::array kPtyFields{field(1, "size", kSize)};
constexpr ProtoMessage kPty{kPtyFields};

constexpr std::array kStartRequestFields{field(1, "process", kConfig), field(2, "pty", kPty),
                                         field(3, "tag", Kind::text),
                                         field(4, "stdin", Kind::boolean)};
constexpr ProtoMessage kStartRequest{kStartRequestFields};

constexpr std::array kOfProcessFields{field(1, "process", kSelector)};
constexpr ProtoMessage kOfProcess{kOfProcessFields};

constexpr std::array kUpdateFields{field(1, "process", kSelector), field(2, "pty", kPty)};
constexpr ProtoMessage kUpdate{kUpdateFields};

constexpr std::array kInputFields{field(1, "stdin", Kind::bytes, 1),
                                  field(2, "pty", Kind::bytes, 1)};
constexpr ProtoMessage kInput{kInputFields};
constexpr std::array kSendInputFields{field(1, "process", kSelector), field(2, "input", kInput)};
constexpr ProtoMessage kSendInput{kSendInputFields};
constexpr std::array kInputDataFields{field(2, "input", kInput)};
constexpr ProtoMessage kInputData{kInputDataFields};
constexpr std::array kStreamInputFields{field(1, "start", kOfProcess, 1),
                                        field(2, "data", kInputData, 1),
                                        field(3, "keepalive", kEmpty, 1)};
constexpr ProtoMessage kStreamInput{kStreamInputFields};

constexpr std::array<ProtoEnumValue, 3> kSignals{
    {{0, "SIGNAL_UNSPECIFIED"}, {15, "SIGNAL_SIGTERM"}, {9, "SIGNAL_SIGKILL"}}};
constexpr std::array kSendSignalFields{field(1, "process", kSelector),
                                       field(2, "signal", kSignals)};
constexpr ProtoMessage kSendSignal{kSendSignalFields};

constexpr std::array kStartedFields{field(1, "pid", Kind::uint32)};
constexpr ProtoMessage kStarted{kStartedFields};
constexpr std::array kOutputFields{field(1, "stdout", Kind::bytes, 1),
                                   field(2, "stderr", Kind::bytes, 1),
                                   field(3, "pty", Kind::bytes, 1)};
constexpr ProtoMessage kOutput{kOutputFields};
constexpr std::array kEndFields{field(1, "exitCode", Kind::sint32),
                                field(2, "exited", Kind::boolean), field(3, "status", Kind::text),
                                field(4, "error", Kind::text)};
constexpr ProtoMessage kEnd{kEndFields};
constexpr std::array kProcessEventFields{field(1, "start", kStarted, 1),
                                         field(2, "data", kOutput, 1), field(3, "end", kEnd, 1),
                                         field(4, "keepalive", kEmpty, 1)};
constexpr ProtoMessage kProcessEvent{kProcessEventFields};
constexpr std::array kEventsFields{field(1, "event", kProcessEvent)};
constexpr ProtoMessage kEvents{kEventsFields};

constexpr std::array kProcessInfoFields{field(1, "config", kConfig), field(2, "pid", Kind::uint32),
                                        field(3, "tag", Kind::text)};
constexpr ProtoMessage kProcessInfo{kProcessInfoFields};
constexpr std::array kProcessListFields{repeated(1, "processes", kProcessInfo)};
constexpr ProtoMessage kProcessList{kProcessListFields};

constexpr Method kProcessMethods[] = {
    {"Start", &kStartRequest, &kEvents},     {"Connect", &kOfProcess, &kEvents},
    {"List", &kEmpty, &kProcessList},        {"SendInput", &kSendInput, &kEmpty},
    {"StreamInput", &kStreamInput, &kEmpty}, {"CloseStdin", &kOfProcess, &kEmpty},
    {"SendSignal", &kSendSignal, &kEmpty},   {"Update", &kUpdate, &kEmpty},
};

// filesystem.Filesystem

constexpr std::array<ProtoEnumValue, 4> kFileTypes{{{0, "FILE_TYPE_UNSPECIFIED"},
                                                    {1, "FILE_TYPE_FILE"},
                                                    {2, "FILE_TYPE_DIRECTORY"},
                                                    {3, "FILE_TYPE_SYMLINK"}}};
constexpr std::array kEntryFields{field(1, "name", Kind::text),
                                  field(2, "type", kFileTypes),
                                  field(3, "path", Kind::text),
                                  field(4, "size", Kind::int64),
                                  field(5, "mode", Kind::uint32),
                                  field(6, "permissions", Kind::text),
                                  field(7, "owner", Kind::text),
                                  field(8, "group", Kind::text),
                                  field(9, "modifiedTime", Kind::timestamp),
                                  field(10, "symlinkTarget", Kind::text),
                                  field(11, "metadata", Kind::text_map),
                                  field(12, "isSymlink", Kind::boolean)};
constexpr ProtoMessage kEntry{kEntryFields};
constexpr std::array kOneEntryFields{field(1, "entry", kEntry)};
constexpr ProtoMessage kOneEntry{kOneEntryFields};
constexpr std::array kEntryListFields{repeated(1, "entries", kEntry)};
constexpr ProtoMessage kEntryList{kEntryListFields};

constexpr std::array kOfPathFields{field(1, "path", Kind::text)};
constexpr ProtoMessage kOfPath{kOfPathFields};
constexpr std::array kMoveFields{field(1, "source", Kind::text),
                                 field(2, "destination", Kind::text)};
constexpr ProtoMessage kMove{kMoveFields};
constexpr std::array kListDirFields{field(1, "path", Kind::text), field(2, "depth", Kind::uint32)};
constexpr ProtoMessage kListDir{kListDirFields};

constexpr std::array kWatchFields{
    field(1, "path", Kind::text), field(2, "recursive", Kind::boolean),
    field(3, "includeEntry", Kind::boolean), field(4, "allowNetworkMounts", Kind::boolean)};
constexpr ProtoMessage kWatch{kWatchFields};
constexpr std::array<ProtoEnumValue, 6> kEventTypes{{{0, "EVENT_TYPE_UNSPECIFIED"},
                                                     {1, "EVENT_TYPE_CREATE"},
                                                     {2, "EVENT_TYPE_WRITE"},
                                                     {3, "EVENT_TYPE_REMOVE"},
                                                     {4, "EVENT_TYPE_RENAME"},
                                                     {5, "EVENT_TYPE_CHMOD"}}};
constexpr std::array kFileEventFields{field(1, "name", Kind::text), field(2, "type", kEventTypes),
                                      field(3, "entry", kEntry)};
constexpr ProtoMessage kFileEvent{kFileEventFields};
constexpr std::array kWatchEventFields{field(1, "start", kEmpty, 1),
                                       field(2, "filesystem", kFileEvent, 1),
                                       field(3, "keepalive", kEmpty, 1)};
constexpr ProtoMessage kWatchEvent{kWatchEventFields};
constexpr std::array kWatcherIdFields{field(1, "watcherId", Kind::text)};
constexpr ProtoMessage kWatcherId{kWatcherIdFields};
constexpr std::array kWatcherEventsFields{repeated(1, "events", kFileEvent)};
constexpr ProtoMessage kWatcherEvents{kWatcherEventsFields};

constexpr Method kFilesystemMethods[] = {
    {"Stat", &kOfPath, &kOneEntry},
    {"MakeDir", &kOfPath, &kOneEntry},
    {"Move", &kMove, &kOneEntry},
    {"ListDir", &kListDir, &kEntryList},
    {"Remove", &kOfPath, &kEmpty},
    {"WatchDir", &kWatch, &kWatchEvent},
    {"CreateWatcher", &kWatch, &kWatcherId},
    {"GetWatcherEvents", &kWatcherId, &kWatcherEvents},
    {"RemoveWatcher", &kWatcherId, &kEmpty},
};

template <size_t N>
const Method* find(const Method (&methods)[N], std::string_view name) {
  for (const Method& method : methods)
    if (method.name == name) return &method;
  return nullptr;
}

}  // namespace

const Method* find_process_method(std::string_view name) {
  return find(kProcessMethods, name);
}

const Method* find_filesystem_method(std::string_view name) {
  return find(kFilesystemMethods, name);
}

}  // namespace hako::wire
