// A segment that somebody hands over to be verified, and texts of guests in records. No bytes may
// be taken for a log that the key has not signed; whatever a text holds, its record is one line
// that is read again as that record.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "audit/line.h"
#include "audit/segments.h"
#include "audit/verify.h"

namespace {
using namespace hako::audit;

void require(bool holds) {
  if (!holds) std::abort();
}

/// Of nobody: nothing can be signed with it.
PublicKey some_key() {
  PublicKey key;
  key.fill(7);
  return key;
}

void write_as_record(std::string_view text) {
  Record record;
  record.actor = text;
  record.action = "command.start";
  record.reason = text;
  record.details = {{std::string(text), "name"}, {"command", std::string(text)}};
  Link link{42, hash_line(text)};
  std::string line = make_line(link, body_of(record));
  auto read = parse_link(line);
  require(read && read->sequence == 42 && read->previous == link.previous);
  require(!is_head(line) && !retired_before(line) && line.find('\n') == std::string::npos);
  auto object = boost::json::parse(line).as_object();
  require(object.at("action") == "command.start" && !object.contains("audit"));
  require(object.at("details").is_object());
}

void read_as_line(std::string_view text) {
  auto link = parse_link(text);
  require(!link || link->sequence > 0);
  auto head = parse_head(text);
  require(!head || (link && is_head(text) && head->key.size() == 64));
  require(!is_signed_by(text, some_key()));
  (void)retired_before(text);
}

void read_as_segment(std::string_view text) {
  static const std::string folder = [] {
    std::string pattern = std::filesystem::temp_directory_path() / "hako-fuzz-audit-XXXXXX";
    require(::mkdtemp(pattern.data()) != nullptr);
    static const struct Remover {
      std::string path;
      ~Remover() { std::filesystem::remove_all(path); }
    } remover{pattern};
    return pattern;
  }();
  std::string path = segment_path(folder, 1);
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << text;
  auto verdict = verify_log(folder, some_key());
  require(bool(verdict) && verdict.value().problem.has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  read_as_line(text);
  write_as_record(text);
  read_as_segment(text);
  return 0;
}
