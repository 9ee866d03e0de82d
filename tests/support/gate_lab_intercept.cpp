#include "support/gate_lab_intercept.h"

#include <algorithm>

#include "base/encoding.h"

namespace hako::test {

namespace json = boost::json;
using boost::system::error_code;

void InterceptTest::SetUp() {
  EgressTest::SetUp();
  if (IsSkipped()) return;
  std::filesystem::create_directories(directory_ + "/outside");
  std::filesystem::create_directories(directory_ + "/box");
  outside_.emplace(directory_ + "/outside");
  outside_->issue("web", "DNS:web.example,DNS:other.example");
  outside_->self_sign("liar", "DNS:web.example");
  outside_->issue("stranger", "DNS:elsewhere.example");
  box_ca_.emplace(directory_ + "/box");
  world_->use_certificate(outside_->certificate("web"), outside_->key_file("web"));
  world_->answers = [this](http::Exchange& exchange) { return answer(exchange); };
  policy_ = intercepting();
}

std::string InterceptTest::gate_settings() const {
  return "upstream_ca_file = \"" + outside_->authority() + "\"\n";
}

void InterceptTest::run(Task<void> body) {
  EgressTest::run(run_beside(std::move(body)));
}

Task<void> InterceptTest::run_beside(Task<void> body) {
  broker_.emplace(directory_ + "/broker.sock", config::Config().gate_uid);
  broker_->boxes[kBoxName] = material();
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn("broker", broker_->serve());
  std::exception_ptr fault;
  try {
    co_await std::move(body);
  } catch (...) {
    fault = std::current_exception();
  }
  co_await tasks.stop();
  if (fault) std::rethrow_exception(fault);
}

json::object InterceptTest::swap(std::string kind, std::string value) {
  json::object swap{{"secret", "api"}, {"placeholder", kPlaceholder}, {"value", value}};
  swap["kind"] = kind;
  if (kind == "header") {
    swap["header"] = "x-api-key";
    swap["template"] = "{}";
  }
  return swap;
}

json::object InterceptTest::material(std::string value) const {
  json::object host{{"host", "web.example"}, {"ports", json::array{443}}};
  host["always"] = json::array{json::object{{"header", "x-sent-by"}, {"value", "hako"}}};
  host["swaps"] =
      json::array{swap("header", value), swap("bearer", value), swap("basic", value)};
  json::object body{{"revision", "1"}};
  body["ca"] = json::object{{"certificate", read_file(box_ca_->authority()).value()},
                            {"key", read_file(box_ca_->key_file("ca")).value()}};
  body["hosts"] = json::array{host};
  body["placeholders"] =
      json::array{json::object{{"secret", "api"}, {"placeholder", kPlaceholder}},
                  json::object{{"secret", "github"}, {"placeholder", kOtherPlaceholder}}};
  return body;
}

policy::EgressPolicy InterceptTest::intercepting() const {
  auto policy = allow("web.example other.example");
  policy.intercept.push_back({"web.example"});
  return policy;
}

Task<EgressTest::Ran> InterceptTest::curl(std::string arguments, std::string name) {
  std::string address = co_await lookup(name);
  std::string command = "curl -sS --max-time 20 --noproxy '*' --cacert " + box_ca_->authority() +
                        " --resolve " + name + ":443:" + address + " " + arguments;
  co_return co_await run_in_guest(std::move(command));
}

Task<http::Stream> InterceptTest::connect_tls(std::string name) {
  std::string address = co_await lookup(name);
  auto stream = co_await connect(std::move(address), World::kHttps);
  tls::Client client(box_ca_->authority());
  auto shaken = co_await client.connect(std::move(stream), std::move(name));
  if (!shaken) throw std::runtime_error(shaken.error().message());
  co_return std::move(shaken).value();
}

Task<void> InterceptTest::say(http::Stream& stream, std::string bytes) {
  asio::const_buffer all = asio::buffer(bytes);
  (void)co_await stream.layer()->send(stream, std::span(&all, 1));
}

Task<std::string> InterceptTest::read_for(http::Stream& stream, std::string until,
                                          Duration patience) {
  std::string received;
  auto read = [](http::Stream& from, std::string& into, std::string end) -> Task<Result<void>> {
    char buffer[16384];
    while (end.empty() || into.find(end) == into.npos) {
      size_t count = 0;
      error_code error = co_await from.layer()->receive(from, asio::buffer(buffer), count);
      into.append(buffer, count);
      if (error && error != asio::error::eof) into += "<reset>";
      if (error) co_return ok();
    }
    co_return ok();
  };
  auto reading = read(stream, received, std::move(until));
  auto ended = co_await with_deadline(patience, std::move(reading));
  co_return ended ? received : received + "<open>";
}

Task<std::string> InterceptTest::talk_tls(std::string bytes, std::string name) {
  auto stream = co_await connect_tls(std::move(name));
  co_await say(stream, std::move(bytes));
  co_return co_await read_for(stream, std::string());
}

bool InterceptTest::arrived(const std::string& text) const {
  return std::ranges::any_of(seen, [&](const Seen& request) {
    if (request.target.find(text) != text.npos || request.body.find(text) != text.npos) return true;
    return std::any_of(request.fields.begin(), request.fields.end(), [&](const auto& field) {
      std::string value(field.value());
      auto decoded = value.starts_with("Basic ") ? base64_decode(value.substr(6)) : std::nullopt;
      return value.find(text) != text.npos || (decoded && decoded->find(text) != text.npos);
    });
  });
}

/// What it does is said by the path.
Task<void> InterceptTest::answer(http::Exchange& exchange) {
  http::RequestHead head = exchange.head();
  auto path = std::string(head.path());
  seen.push_back({head.target, head.fields, {}, false});
  size_t index = seen.size() - 1;
  if (!head.header("Upgrade").empty()) {
    auto raw = exchange.take_connection();
    std::string answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    co_await say(raw.stream, answer);
    char buffer[4096];
    for (;;) {
      size_t count = 0;
      error_code error =
          co_await raw.stream.layer()->receive(raw.stream, asio::buffer(buffer), count);
      if (error) co_return;
      std::string said(buffer, count);
      if (said.starts_with("key?")) said = "key=" + std::string(kValue) + ".";
      co_await say(raw.stream, said);
    }
  }
  char buffer[65536];
  for (;;) {
    auto count = co_await exchange.read_some(asio::buffer(buffer));
    if (!count) co_return exchange.abort();
    if (count.value() == 0) break;
    seen[index].body.append(buffer, count.value());
  }
  seen[index].whole = true;
  if (paths.contains(path)) co_return co_await paths[path](exchange);
  if (path == "/stream") {
    http::ResponseHead begun;
    begun.fields.set(http::Field::content_type, "text/event-stream");
    (void)co_await exchange.begin_with(std::move(begun), asio::buffer("data: 1\n\n", 9));
    co_await sleep_for(700ms);
    (void)co_await exchange.write(asio::buffer("data: 2\n\n", 9));
    (void)co_await exchange.end();
    co_return;
  }
  if (path == "/echo-in-pieces") {
    http::ResponseHead begun;
    (void)co_await exchange.begin_with(std::move(begun), asio::buffer("key=", 4));
    for (const char& byte : std::string_view(kValue)) {
      (void)co_await exchange.write(asio::buffer(&byte, 1));
      co_await sleep_for(1ms);
    }
    (void)co_await exchange.end();
    co_return;
  }
  http::Response response = http::Response::text(200, "fine\n");
  if (path == "/large") response.body = pattern_at(0, 8 << 20);
  if (path == "/echo") {
    response.body.clear();
    for (const auto& field : head.fields)
      response.body += std::string(field.name_string()) + ": " + std::string(field.value()) + "\n";
    response.body += base64_encode("x" + std::string(kValue) + "y") + "\n";
    response.fields.set("X-Echo", std::string(head.header("x-api-key")));
  }
  if (path == "/compressed") response.fields.set(http::Field::content_encoding, "gzip");
  (void)co_await exchange.respond(std::move(response));
}

}  // namespace hako::test
