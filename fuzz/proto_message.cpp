// Binary messages of the guest's services: what is accepted survives being written and read again.
// The first byte chooses the method and the direction.
#include <boost/json/serialize.hpp>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "wire/json_text.h"
#include "wire/services.h"

namespace {

using namespace hako::wire;

void require(bool holds) {
  if (!holds) std::abort();
}

const ProtoMessage& choose(uint8_t choice) {
  constexpr std::array<std::string_view, 8> kProcess{
      "Start", "Connect", "List", "SendInput", "StreamInput", "CloseStdin", "SendSignal", "Update"};
  constexpr std::array<std::string_view, 9> kFilesystem{
      "Stat",     "MakeDir",       "Move",             "ListDir",      "Remove",
      "WatchDir", "CreateWatcher", "GetWatcherEvents", "RemoveWatcher"};
  size_t number = (choice >> 1) % (kProcess.size() + kFilesystem.size());
  const Method* method = number < kProcess.size()
                             ? find_process_method(kProcess[number])
                             : find_filesystem_method(kFilesystem[number - kProcess.size()]);
  require(method != nullptr);
  return choice & 1 ? *method->response : *method->request;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const ProtoMessage& message = choose(data[0]);
  std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  auto object = proto_to_json(message, bytes);
  if (!object) return 0;
  // All of it is JSON that the services' own parser takes.
  std::string text = boost::json::serialize(object.value());
  require(parse_object(text).has_value());
  std::string written;
  require(append_proto(written, message, object.value()).has_value());
  auto again = proto_to_json(message, written);
  require(again.has_value());
  // Times outside the years that are written are left out: then the second form must be stable.
  std::string rewritten;
  require(append_proto(rewritten, message, again.value()).has_value());
  require(rewritten == written);
  return 0;
}
