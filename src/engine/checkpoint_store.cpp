#include "engine/checkpoint_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

#include <filesystem>

#include "base/random.h"
#include "engine/durable.h"

namespace hako::engine {

namespace json = boost::json;

namespace {

constexpr int64_t kCheckpointFormat = 1;
constexpr uint32_t kMostHead = 4096;
constexpr int kLargestMemory = 256 * 1024;  // MiB
static_assert(sizeof(PageRun) == 16);       // stored as they are: this is for x86 only

/// What comes first in the file, behind its own length. The device state, the runs and the pages
/// follow.
struct Head {
  std::string base;
  uint64_t device_state_bytes = 0;
  uint64_t runs = 0;
  uint64_t pages = 0;
};

template <class T>
std::span<const std::byte> raw_bytes(const T* data, size_t count) {
  return std::as_bytes(std::span(data, count));
}

std::string format_head(const Head& head) {
  json::object object;
  object["format"] = kCheckpointFormat;
  object["base"] = head.base;
  object["device_state_bytes"] = head.device_state_bytes;
  object["runs"] = head.runs;
  object["pages"] = head.pages;
  return json::serialize(object);
}

Result<Head> parse_head(std::string_view text, const std::string& name) {
  auto bad = [&] { return Error(ErrorCode::corrupted, name + ": not a checkpoint"); };
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) return bad();
  const json::object& object = value.get_object();
  auto number = [&object](std::string_view field) -> std::optional<uint64_t> {
    const json::value* found = object.if_contains(field);
    const int64_t* number = found ? found->if_int64() : nullptr;
    if (!number || *number < 0) return std::nullopt;
    return static_cast<uint64_t>(*number);
  };
  auto format = number("format");
  if (!format) return bad();
  if (*format != kCheckpointFormat)
    return Error(ErrorCode::unsupported, name + ": format " + std::to_string(*format));
  const json::value* base = object.if_contains("base");
  auto device_state = number("device_state_bytes"), runs = number("runs"), pages = number("pages");
  if (!base || !base->is_string() || !device_state || !runs || !pages) return bad();
  const json::string& name_of_base = base->get_string();
  return Head{std::string(name_of_base.data(), name_of_base.size()), *device_state, *runs, *pages};
}

Result<void> write_parts(const Checkpoint& checkpoint, SealedWriter& writer) {
  HAKO_TRYV(validate(checkpoint.memory, kLargestMemory));
  const auto& runs = checkpoint.memory.runs;
  HAKO_TRY(auto pages, PageView::open(checkpoint.memory.pages.get()));
  std::string head = format_head(
      {checkpoint.base, checkpoint.device_state.size(), runs.size(), pages_in(runs)});
  auto length = static_cast<uint32_t>(head.size());
  HAKO_TRYV(writer.write(raw_bytes(&length, 1)));
  HAKO_TRYV(writer.write(raw_bytes(head.data(), head.size())));
  HAKO_TRYV(
      writer.write(raw_bytes(checkpoint.device_state.data(), checkpoint.device_state.size())));
  HAKO_TRYV(writer.write(raw_bytes(runs.data(), runs.size())));
  HAKO_TRYV(writer.write(pages.bytes()));
  return writer.finish();
}

template <class T>
Result<void> read_into(SealedReader& reader, T* data, size_t count) {
  return reader.read(std::as_writable_bytes(std::span(data, count)));
}

/// Whether a file of `size` can hold what its head says: without a key that is anybody's word, and
/// memory is set aside by it.
bool fits(const Head& head, uint64_t size) {
  return head.device_state_bytes <= size && head.runs <= size / sizeof(PageRun) &&
         head.pages <= size / kGuestPage;
}

Result<Checkpoint> read_parts(SealedReader& reader, const std::string& name, uint64_t file_size) {
  auto bad = [&] { return Error(ErrorCode::corrupted, name + ": not a checkpoint"); };
  uint32_t length = 0;
  HAKO_TRYV(read_into(reader, &length, 1));
  if (length > kMostHead) return bad();
  std::string text(length, '\0');
  HAKO_TRYV(read_into(reader, text.data(), text.size()));
  HAKO_TRY(auto head, parse_head(text, name));
  if (!fits(head, file_size)) return bad();

  Checkpoint checkpoint;
  checkpoint.base = std::move(head.base);
  checkpoint.device_state.resize(head.device_state_bytes);
  HAKO_TRYV(
      read_into(reader, checkpoint.device_state.data(), checkpoint.device_state.size()));
  checkpoint.memory.runs.resize(head.runs);
  HAKO_TRYV(read_into(reader, checkpoint.memory.runs.data(), checkpoint.memory.runs.size()));
  HAKO_TRY(auto pages, PageBuffer::make(head.pages));
  HAKO_TRYV(read_into(reader, pages.data(), head.pages * kGuestPage));
  HAKO_TRYV(reader.finish());
  HAKO_TRY(checkpoint.memory.pages, pages.finish(head.pages));
  auto valid = validate(checkpoint.memory, kLargestMemory);
  if (!valid) return valid.error().with_context(name);
  return checkpoint;
}

}  // namespace

Result<void> save_checkpoint(const Checkpoint& checkpoint, const std::string& path,
                             const Seal& seal) {
  std::string temporary = path + ".tmp-" + random_hex(6);
  auto save = [&]() -> Result<void> {
    HAKO_TRY(auto file, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600));
    HAKO_TRY(auto writer, SealedWriter::begin(file.get(), seal));
    HAKO_TRYV(write_parts(checkpoint, writer));
    return publish(temporary, path);
  };
  auto saved = save();
  if (!saved) ::unlink(temporary.c_str());
  return saved;
}

Result<Checkpoint> load_checkpoint(const std::string& path, const Seal& seal) {
  std::string name = std::filesystem::path(path).filename();
  HAKO_TRY(auto file, open_file(path, O_RDONLY));
  struct stat info {};
  if (::fstat(file.get(), &info) < 0) return Error::from_errno(errno, "stat " + name);
  HAKO_TRY(auto reader, SealedReader::begin(file.get(), name, seal));
  return read_parts(reader, name, static_cast<uint64_t>(info.st_size));
}

}  // namespace hako::engine
