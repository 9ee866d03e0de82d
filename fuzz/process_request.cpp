// JSON of process.Process and filesystem.Filesystem: what is accepted holds what it must and
// survives being written and read again.
#include <boost/json/serialize.hpp>

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "wire/filesystem.h"
#include "wire/json_text.h"
#include "wire/process.h"

namespace {

using namespace hako::wire;

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string quoted;
  append_json_string(quoted, text);
  require(parse_object("{\"a\":" + quoted + "}").has_value());
  auto object = parse_object(text);
  if (!object) return 0;
  if (auto start = parse_start(object.value())) {
    const ProcessConfig& config = start.value().process;
    require(!config.cmd.empty() && config.cmd.find('\0') == std::string::npos);
    for (const auto& [name, value] : config.envs)
      require(!name.empty() && name.find('=') == std::string::npos);
    auto again = parse_start(to_json(start.value()));
    require(again && again.value().process.args == config.args &&
            again.value().tag == start.value().tag);
  }
  if (auto selector = parse_selector(object.value()); selector && selector.value().pid) {
    boost::json::object wrapped{{"process", to_json(selector.value())}};
    auto again = parse_selector(wrapped);
    require(again && again.value().pid == selector.value().pid);
  }
  if (auto signal = parse_signal(object.value()))
    require(signal.value() == 9 || signal.value() == 15);
  (void)parse_input(object.value()).has_value();
  (void)parse_pty(object.value()).has_value();
  if (auto entry = parse_entry(object.value())) {
    std::string written;
    append_entry(written, entry.value());
    require(parse_object(written).has_value());
  }
  return 0;
}
