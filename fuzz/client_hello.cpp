// What a TLS client says first, and around a retry: once there is an answer more bytes do not
// change it, there is one in the end, and a name is a name.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "wire/client_hello.h"

namespace {

using namespace hako::wire;
using State = ClientHello::State;

void require(bool holds) {
  if (!holds) std::abort();
}

bool same(const ClientHello& a, const ClientHello& b) {
  return a.state == b.state && a.server_name == b.server_name && a.encrypted == b.encrypted &&
         a.size == b.size;
}

void check_name(const std::string& name) {
  require(name.size() <= 253);
  for (char c : name)
    require((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.');
  if (!name.empty()) require(name.front() != '.' && name.back() != '.');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const uint8_t> bytes(data, size);
  auto all = read_client_hello(bytes);
  if (all.state != State::whole) require(all.server_name.empty() && !all.encrypted);
  check_name(all.server_name);
  if (size >= kLongestHello) require(all.state != State::incomplete);
  // Every length of a short input, some of a long one.
  size_t step = std::max<size_t>(1, size / 64);
  for (size_t length = 0; length < size; length += step) {
    auto part = read_client_hello(bytes.first(length));
    require(part.state == State::incomplete || same(part, all));
  }
  // The same for what is read later on a connection.
  auto reply = read_hello_reply(bytes);
  auto second = read_second_hello(bytes);
  check_name(second.server_name);
  for (size_t length = 0; length < size; length += step) {
    auto part = bytes.first(length);
    auto early_reply = read_hello_reply(part);
    require(early_reply == HelloReply::incomplete || early_reply == reply);
    auto early_second = read_second_hello(part);
    require(early_second.state == State::incomplete || same(early_second, second));
  }
  if (all.state == State::incomplete) return 0;
  if (all.state == State::whole) require(all.size <= size && same(second, all));
  std::vector<uint8_t> longer(data, data + size);
  for (uint8_t byte : {22, 3, 0, 255}) {
    longer.push_back(byte);
    require(same(read_client_hello(longer), all));
  }
  return 0;
}
