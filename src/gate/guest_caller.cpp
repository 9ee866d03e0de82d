#include "gate/guest_caller.h"

#include <algorithm>

#include "base/encoding.h"
#include "gate/exec_reply.h"
#include "wire/process.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

/// A guest that is still booting does not answer a SYN, and TCP sends the next one only after a
/// second: so the first tries are short. They grow, lest a slow guest never gets to finish one.
constexpr Duration kFirstPatience = 20ms;
constexpr Duration kLongestPatience = 320ms;
constexpr Duration kBetweenKnocks = 3ms;
constexpr Duration kConnectPatience = 5s;
constexpr Duration kHealthPatience = 2s;
constexpr Duration kFinPatience = 1s;
constexpr size_t kLongestAnswer = 64 << 10;

Error guest_error(const http::Response& response) {
  std::string text = "the guest answered " + std::to_string(response.status);
  if (!response.body.empty()) text += ": " + response.body.substr(0, 4096);
  return Error(ErrorCode::failed_precondition, std::move(text));
}

/// Half-closes and waits for the other half.
Task<Result<void>> finish(http::Client& client) {
  boost::system::error_code error;
  client.stream().shutdown(http::Stream::shutdown_send, error);
  char dropped[512];
  while (!error)
    co_await client.stream().async_read_some(asio::buffer(dropped),
                                             asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  co_return ok();
}

}  // namespace

Task<Result<void>> GuestCaller::wait_ready(MachineRef machine, Duration deadline) {
  auto work = keep_knocking(std::move(machine));
  co_return co_await with_deadline(deadline, std::move(work));
}

Task<Result<void>> GuestCaller::keep_knocking(MachineRef machine) {
  Duration patience = kFirstPatience;
  for (;;) {
    auto connection = co_await daemon_connection(table_, machine, patience);
    if (machine->removed) co_return Error(ErrorCode::unavailable, "the machine has gone");
    if (connection) {
      GuestConnection::keep(std::move(connection).value());
      auto work = knock(machine);
      auto well = co_await with_deadline(kHealthPatience, std::move(work));
      if (well) co_return ok();
    } else if (connection.error().code() == ErrorCode::timed_out) {
      patience = std::min(patience * 2, kLongestPatience);
    }
    co_await sleep_for(kBetweenKnocks);
  }
}

Task<Result<void>> GuestCaller::knock(MachineRef machine) {
  http::Request request;
  request.target = "/health";
  HAKO_CO_TRY(auto response, co_await ask(machine, std::move(request), kLongestAnswer));
  if (response.status != 204) co_return guest_error(response);
  co_return ok();
}

Task<Result<http::Response>> GuestCaller::ask(MachineRef machine, http::Request request,
                                              size_t limit) {
  HAKO_CO_TRY(auto connection, co_await daemon_connection(table_, machine, kConnectPatience));
  auto response = co_await connection.client().exchange(std::move(request), limit);
  if (response) GuestConnection::keep(std::move(connection));
  co_return response;
}

Task<Result<void>> GuestCaller::init(MachineRef machine, boost::json::object init,
                                     Duration deadline) {
  auto work = post(std::move(machine), "/init", boost::json::serialize(init));
  co_return co_await with_deadline(deadline, std::move(work));
}

Task<Result<void>> GuestCaller::freeze(MachineRef machine, Duration deadline) {
  auto work = post(std::move(machine), "/freeze", "{}");
  co_return co_await with_deadline(deadline, std::move(work));
}

Task<Result<void>> GuestCaller::thaw(MachineRef machine, Duration deadline) {
  auto work = post(std::move(machine), "/thaw", "{}");
  co_return co_await with_deadline(deadline, std::move(work));
}

Task<Result<void>> GuestCaller::post(MachineRef machine, std::string target, std::string body) {
  http::Request request;
  request.method = http::Verb::post;
  request.target = std::move(target);
  request.fields.set(http::Field::content_type, "application/json");
  request.body = std::move(body);
  HAKO_CO_TRY(auto response, co_await ask(machine, std::move(request), kLongestAnswer));
  if (response.status == 404 || response.status == 501)
    co_return Error(ErrorCode::unsupported, guest_error(response).message());
  if (response.status != 204) co_return guest_error(response);
  co_return ok();
}

Task<Result<ExecOutcome>> GuestCaller::exec(MachineRef machine, ExecRequest request) {
  Duration deadline = request.deadline;
  auto work = run(std::move(machine), std::move(request));
  co_return co_await with_deadline(deadline, std::move(work));
}

Task<Result<ExecOutcome>> GuestCaller::run(MachineRef machine, ExecRequest asked) {
  wire::StartRequest start;
  start.process.cmd = std::move(asked.cmd);
  start.process.args = std::move(asked.args);
  start.process.envs = std::move(asked.envs);
  start.process.cwd = std::move(asked.cwd);
  start.has_stdin = false;

  http::Request request;
  request.method = http::Verb::post;
  request.target = "/process.Process/Start";
  request.fields.set(http::Field::content_type, wire::kConnectStreamType);
  request.fields.set("Connect-Protocol-Version", "1");
  auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(asked.deadline);
  request.fields.set("Connect-Timeout-Ms", std::to_string(milliseconds.count()));
  if (!asked.user.empty())
    request.fields.set(http::Field::authorization, "Basic " + base64_encode(asked.user + ":"));
  if (!machine->access_token.empty()) request.fields.set("X-Access-Token", machine->access_token);
  size_t frame = wire::begin_frame(request.body);
  request.body += boost::json::serialize(wire::to_json(start));
  wire::end_frame(request.body, frame);

  HAKO_CO_TRY(auto connection, co_await daemon_connection(table_, machine, kConnectPatience));
  http::Client& client = connection.client();
  HAKO_CO_TRY(auto head, co_await client.start(std::move(request)));
  if (head.status != 200)
    co_return Error(ErrorCode::failed_precondition,
                    "the guest answered " + std::to_string(head.status));
  ExecReply reply(asked.output_limit);
  std::vector<char> buffer(32 << 10);
  for (;;) {
    HAKO_CO_TRY(size_t count, co_await client.read_some(asio::buffer(buffer)));
    if (count == 0) break;
    HAKO_CO_TRYV(reply.feed({buffer.data(), count}));
  }
  if (!reply.complete()) co_return Error(ErrorCode::corrupted, "the guest's reply ended early");
  GuestConnection::keep(std::move(connection));
  ExecOutcome outcome;
  outcome.exit_code = reply.exit_code();
  outcome.output = std::string(reply.output());
  co_return outcome;
}

Task<Result<void>> GuestCaller::quiesce(MachineRef machine) {
  auto idle = std::exchange(machine->idle, {});
  for (int fd : machine->live) reset_socket(fd);
  for (http::Client& client : idle) {
    auto work = finish(client);
    auto finished = co_await with_deadline(kFinPatience, std::move(work));
    if (!finished) http::reset_connection(client.stream());
  }
  co_return ok();
}

}  // namespace hako::gate
