// What a TLS client says first: once there is an answer more bytes do not change it, there is one
// in the end, and a name is a name.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "wire/client_hello.h"

namespace {

using hako::wire::ClientHello;
using hako::wire::read_client_hello;
using State = ClientHello::State;

void require(bool holds) {
  if (!holds) std::abort();
}

bool same(const ClientHello& a, const ClientHello& b) {
  return a.state == b.state && a.server_name == b.server_name && a.encrypted == b.encrypted;
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
  if (size >= hako::wire::kLongestHello) require(all.state != State::incomplete);
  // Every length of a short input, some of a long one.
  size_t step = std::max<size_t>(1, size / 64);
  for (size_t length = 0; length < size; length += step) {
    auto part = read_client_hello(bytes.first(length));
    require(part.state == State::incomplete || same(part, all));
  }
  if (all.state == State::incomplete) return 0;
  std::vector<uint8_t> longer(data, data + size);
  for (uint8_t byte : {22, 3, 0, 255}) {
    longer.push_back(byte);
    require(same(read_client_hello(longer), all));
  }
  return 0;
}
