// Asks a server over HTTPS as fast as it answers. Prints what came of it as JSON.
//
//   https_load ADDRESS PORT NAME CA_FILE PATH CONNECTIONS SECONDS KEEP [HEADER VALUE]
//
// KEEP: "keep" to ask again on the same connection, "new" for a new one each time.
#include <boost/json.hpp>

#include <chrono>
#include <iostream>

#include "base/async/task_group.h"
#include "http/client.h"
#include "tls/client.h"

namespace {

using namespace hako;
using Clock = std::chrono::steady_clock;

struct Load {
  std::string address, name, path, header, value;
  uint16_t port = 443;
  bool keep = true;
  Clock::time_point end;
  tls::Client& tls;
  std::vector<double> times;
  uint64_t bytes = 0, failed = 0;
  std::string problem;
};

Task<Result<http::Client>> connect(Load& load) {
  HAKO_CO_TRY(auto plain, co_await http::connect_tcp(load.address, load.port, std::chrono::seconds(10)));
  HAKO_CO_TRY(auto stream, co_await load.tls.connect(std::move(plain), load.name));
  co_return http::Client(std::move(stream));
}

Task<Result<void>> ask(Load& load, std::optional<http::Client>& client, std::vector<char>& buffer) {
  auto begin = Clock::now();
  if (!client) {
    HAKO_CO_TRY(auto made, co_await connect(load));
    client.emplace(std::move(made));
  }
  http::Request request;
  request.target = load.path;
  request.fields.set(http::Field::host, load.name);
  if (!load.header.empty()) request.fields.set(load.header, load.value);
  HAKO_CO_TRY(auto head, co_await client->start(std::move(request)));
  if (head.status != 200) co_return Error(ErrorCode::internal, "status " + std::to_string(head.status));
  for (;;) {
    HAKO_CO_TRY(size_t count, co_await client->read_some(asio::buffer(buffer)));
    if (count == 0) break;
    load.bytes += count;
    // Of a long answer what has come by the end counts.
    if (Clock::now() > load.end && buffer.size() == count) break;
  }
  load.times.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  if (!load.keep || !client->reusable()) client.reset();
  co_return ok();
}

Task<void> ask_all(Load& load) {
  std::optional<http::Client> client;
  std::vector<char> buffer(64 << 10);
  while (Clock::now() < load.end) {
    auto asked = co_await ask(load, client, buffer);
    if (asked) continue;
    ++load.failed;
    load.problem = asked.error().message();
    client.reset();
    co_await sleep_for(std::chrono::milliseconds(10));
  }
}

Task<void> run(Load& load, int connections) {
  TaskGroup tasks(co_await asio::this_coro::executor);
  for (int i = 0; i < connections; ++i) tasks.spawn("ask", ask_all(load));
  while (tasks.size() > 0) co_await sleep_for(std::chrono::milliseconds(5));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 9) return 2;
  tls::Client tls(argv[4]);
  auto begin = Clock::now();
  Load load{.address = argv[1], .name = argv[3], .path = argv[5], .tls = tls};
  load.port = static_cast<uint16_t>(std::stoi(argv[2]));
  load.keep = std::string_view(argv[8]) == "keep";
  load.end = begin + std::chrono::milliseconds(static_cast<int>(std::stod(argv[7]) * 1000));
  if (argc > 10) {
    load.header = argv[9];
    load.value = argv[10];
  }
  asio::io_context loop(1);
  asio::co_spawn(loop, run(load, std::stoi(argv[6])), asio::detached);
  loop.run();
  double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  boost::json::object out{{"seconds", seconds}, {"bytes", load.bytes}, {"failed", load.failed},
                          {"problem", load.problem}};
  out["times"] = boost::json::array(load.times.begin(), load.times.end());
  std::cout << boost::json::serialize(out) << "\n";
}
