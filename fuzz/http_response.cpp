// Answers of guests to our HTTP client: whatever they send, the exchange ends, in an error or in a
// response within its bounds, and a connection that said too much is not used again.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "http/client.h"

namespace {

using namespace hako;

constexpr size_t kLongestBody = 4096;
constexpr size_t kLongestInput = 100 << 10;  ///< fits into a socket's buffer

void require(bool holds) {
  if (!holds) std::abort();
}

Task<void> exchange(http::Stream stream, bool head_request) {
  http::Client client(std::move(stream));
  http::Request request;
  if (head_request) request.method = http::Verb::head;
  auto response = co_await client.exchange(std::move(request), kLongestBody);
  if (!response) {
    require(!client.reusable());
    co_return;
  }
  require(response.value().body.size() <= kLongestBody);
  require(response.value().status >= 101 && response.value().status <= 999);
  if (head_request) require(response.value().body.empty());
}

void run(std::string_view input, bool head_request) {
  int ends[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  Fd ours(ends[0]), theirs(ends[1]);
  require(::write(theirs.get(), input.data(), input.size()) == static_cast<ssize_t>(input.size()));
  ::shutdown(theirs.get(), SHUT_WR);
  asio::io_context loop(1);
  bool done = false;
  asio::co_spawn(loop,
                 exchange(http::make_stream(loop.get_executor(), std::move(ours)), head_request),
                 [&](std::exception_ptr fault) { done = !fault; });
  loop.run();
  require(done);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), std::min(size, kLongestInput));
  run(input, false);
  run(input, true);
  return 0;
}
