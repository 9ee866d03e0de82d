#include "api/template_box.h"

#include <unistd.h>

#include "api/data_plane.h"
#include "base/encoding.h"
#include "wire/connect.h"
#include "wire/process.h"

namespace hako::api {
using namespace std::chrono_literals;

namespace {

constexpr auto kConnectTime = 10s;
/// The guest ends a program at its deadline and then says so; this is how long it may take.
constexpr auto kSayTime = 30s;
constexpr size_t kLongestEvent = 1 << 20;
constexpr size_t kLongestAnswer = 64 << 10;
constexpr size_t kUploadPiece = 256 << 10;

/// What process.Process/Start answers, read without trusting it.
class Reply {
 public:
  explicit Reply(TemplateBox::Output& output) : output_(output), decoder_(kLongestEvent) {}

  Result<void> feed(std::string_view bytes) {
    decoder_.feed(bytes);
    for (;;) {
      HAKO_TRY(auto frame, decoder_.next());
      if (!frame) return ok();
      if (frame->is_end()) {
        ended_ = true;
        HAKO_TRYV(wire::parse_end_frame(frame->payload));
        continue;
      }
      HAKO_TRY(auto event, wire::parse_process_event(frame->payload));
      if (event.kind == wire::ProcessEvent::Kind::end) exit_code_ = event.end.exit_code;
      if (event.kind == wire::ProcessEvent::Kind::data && output_)
        output_(event.stream == wire::OutputStream::err, event.bytes);
    }
  }

  Result<int> outcome() const {
    if (!ended_ || !exit_code_)
      return Error(ErrorCode::unavailable, "the machine ended while the program ran");
    return *exit_code_;
  }

 private:
  TemplateBox::Output& output_;
  wire::FrameDecoder decoder_;
  std::optional<int> exit_code_;
  bool ended_ = false;
};

}  // namespace

TemplateBox::TemplateBox(const config::Config& config, std::string box, std::string token)
    : address_(reachable(config.gate_address)),
      port_(config.gate_port),
      box_(std::move(box)),
      token_(std::move(token)) {}

Task<Result<http::Client>> TemplateBox::connect() const {
  auto stream = co_await http::connect_tcp(address_, port_, kConnectTime);
  if (!stream) co_return Error(ErrorCode::unavailable, "the gate is not available");
  co_return http::Client(std::move(stream).value());
}

http::Request TemplateBox::request(std::string target, std::string_view type) const {
  http::Request request;
  request.method = http::Verb::post;
  request.target = std::move(target);
  request.fields.set(http::Field::host, "localhost");
  request.fields.set(http::Field::content_type, type);
  request.fields.set("E2b-Sandbox-Id", box_);
  request.fields.set("X-Access-Token", token_);
  return request;
}

Task<Result<int>> TemplateBox::run(BoxCommand command, Output output, std::chrono::seconds limit) {
  auto work = follow(std::move(command), std::move(output), limit);
  if (limit == 0s) co_return co_await std::move(work);
  co_return co_await with_deadline(limit + kSayTime, std::move(work));
}

Task<Result<int>> TemplateBox::follow(BoxCommand command, Output output,
                                      std::chrono::seconds limit) {
  wire::StartRequest start;
  start.process.cmd = std::move(command.cmd);
  start.process.args = std::move(command.args);
  for (auto& [name, value] : command.envs) start.process.envs.emplace_back(name, value);
  start.process.cwd = command.cwd;
  start.has_stdin = false;
  http::Request asked = request("/process.Process/Start", wire::kConnectStreamType);
  asked.fields.set("Connect-Protocol-Version", "1");
  if (limit > 0s) asked.fields.set("Connect-Timeout-Ms", std::to_string(limit.count() * 1000));
  asked.fields.set(http::Field::authorization, "Basic " + base64_encode(command.user + ":"));
  size_t frame = wire::begin_frame(asked.body);
  asked.body += boost::json::serialize(wire::to_json(start));
  wire::end_frame(asked.body, frame);

  HAKO_CO_TRY(auto client, co_await connect());
  HAKO_CO_TRY(auto head, co_await client.start(std::move(asked)));
  if (head.status != 200)
    co_return Error(ErrorCode::unavailable, "the machine answered " + std::to_string(head.status));
  Reply reply(output);
  std::vector<char> buffer(32 << 10);
  for (;;) {
    HAKO_CO_TRY(size_t count, co_await client.read_some(asio::buffer(buffer)));
    if (count == 0) break;
    HAKO_CO_TRYV(reply.feed({buffer.data(), count}));
  }
  co_return reply.outcome();
}

Task<Result<void>> TemplateBox::upload(int file, std::string path, asio::thread_pool& disk) {
  http::Request asked =
      request("/files?username=root&path=" + percent_encode(path), "application/octet-stream");
  HAKO_CO_TRY(auto client, co_await connect());
  HAKO_CO_TRYV(co_await client.begin(std::move(asked)));
  std::vector<char> piece(kUploadPiece);
  for (off_t position = 0;;) {
    auto read = [&]() -> Result<size_t> {
      ssize_t n = ::pread(file, piece.data(), piece.size(), position);
      if (n < 0) return Error::from_errno(errno, "read an upload");
      return static_cast<size_t>(n);
    };
    auto n = co_await run_blocking(disk, read);
    if (!n) co_return n.error();
    if (n.value() == 0) break;
    position += static_cast<off_t>(n.value());
    auto written = co_await client.write(asio::buffer(piece.data(), n.value()));
    // A guest whose disk is full answers before it has read everything.
    if (!written) break;
  }
  (void)co_await client.finish();
  HAKO_CO_TRY(auto head, co_await client.read_head());
  std::string answer;
  for (;;) {
    auto count = co_await client.read_some(asio::buffer(piece));
    if (!count || count.value() == 0 || answer.size() > kLongestAnswer) break;
    answer.append(piece.data(), count.value());
  }
  if (head.status == 507)
    co_return Error(ErrorCode::no_space, "the disk of the template is too small for the files");
  if (head.status != 200)
    co_return Error(ErrorCode::failed_precondition,
                    "the machine does not take the files: " + answer.substr(0, 512));
  co_return ok();
}

}  // namespace hako::api
