// What the gate tells of what is done in boxes, and by whom.
#include <gmock/gmock.h>

#include "base/encoding.h"
#include "support/gate_fixture.h"
#include "wire/connect.h"
#include "wire/process.h"
#include "wire/services.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;

constexpr uint16_t kService = ScriptedGuest::kServicePort;
constexpr char kToken[] = "grant-of-k1";

boost::json::object grants() {
  boost::json::object all{{"token", kToken}, {"key", "k1"}};
  all["actions"] = boost::json::array{"sandbox.exec", "files.read", "files.write"};
  boost::json::object reads{{"token", "grant-of-k2"}, {"key", "k2.0123456789abcdef"}};
  reads["actions"] = boost::json::array{"files.read"};
  boost::json::object ingress;
  ingress["grants"] = boost::json::array{all, reads};
  return ingress;
}

std::string frame(std::string_view payload, uint8_t flags = 0) {
  std::string out;
  size_t start = wire::begin_frame(out, flags);
  out += payload;
  wire::end_frame(out, start);
  return out;
}

class GateAccessTest : public GateTest {
 protected:
  static http::Request call(std::string target, std::string type, std::string body,
                            std::string token = kToken) {
    auto request = GateTest::request(std::move(target));
    request.method = http::Verb::post;
    request.fields.set("X-Access-Token", token);
    request.fields.set("Content-Type", type);
    request.fields.set("Authorization", "Basic cm9vdDo=");  // root:
    request.body = std::move(body);
    return request;
  }
  static http::Request start(std::string message, uint8_t flags = 0) {
    return call("/process.Process/Start", "application/connect+json", frame(message, flags));
  }

  Task<void> publish() {
    auto publishing = node_->publish("m1-1", "box1", "token1", grants());
    CO_ASSERT_TRUE(co_await std::move(publishing));
  }

  /// The records, once there are so many.
  Task<std::vector<boost::json::object>> records(size_t count) {
    for (int i = 0; i < 3000 && node_->access_records().size() < count; ++i)
      co_await sleep_for(2ms);
    EXPECT_EQ(node_->access_records().size(), count);
    auto all = std::exchange(node_->access_records(), {});
    all.resize(count);
    co_return all;
  }
  Task<boost::json::object> record_of(http::Request request) {
    (void)co_await ask(std::move(request));
    auto all = co_await records(1);
    co_return all[0];
  }
  static std::string text(const boost::json::object& record, const char* name) {
    auto* value = record.if_contains(name);
    return value && value->is_string() ? std::string(value->get_string()) : "<none>";
  }
  static int64_t number(const boost::json::object& record, const char* name) {
    auto* value = record.if_contains(name);
    return value ? value->to_number<int64_t>() : -1;
  }
};
#define ACCESS_TEST(name) GATE_TEST_IN(GateAccessTest, name)

ACCESS_TEST(commands_are_told_with_who_started_them) {
  co_await publish();
  auto echo = start(R"({"process":{"cmd":"echo","args":["-c","it's here"],"cwd":"/tmp",)"
                    R"("envs":{"SECRET":"s3cret"}}})");
  auto record = co_await record_of(std::move(echo));
  EXPECT_EQ(text(record, "box"), "box1");
  EXPECT_EQ(text(record, "kind"), "command");
  EXPECT_EQ(text(record, "action"), "start");
  EXPECT_EQ(text(record, "verdict"), "allowed");
  EXPECT_EQ(text(record, "key"), "k1");
  EXPECT_EQ(text(record, "user"), "root");
  EXPECT_EQ(text(record, "what"), R"(echo -c 'it'\''s here')");
  EXPECT_EQ(text(record, "detail"), "/tmp");
  EXPECT_EQ(number(record, "status"), 200);
  EXPECT_EQ(boost::json::serialize(record).find("s3cret"), std::string::npos);
}

ACCESS_TEST(a_command_is_told_of_while_it_runs) {
  co_await publish();
  auto client = co_await this->client();
  auto hanging = start(R"({"process":{"cmd":"hang"}})");
  CO_ASSERT_TRUE(co_await client.start(std::move(hanging)));
  auto told = co_await records(1);
  EXPECT_EQ(text(told[0], "what"), "hang");
}

ACCESS_TEST(messages_in_binary_form_are_read_too) {
  co_await publish();
  wire::StartRequest request;
  request.process.cmd = "/bin/ls";
  request.process.args = {"-l"};
  std::string bytes;
  CO_ASSERT_TRUE(wire::append_proto(bytes, *wire::find_process_method("Start")->request,
                                    wire::to_json(request)));
  auto binary = call("/process.Process/Start", "application/connect+proto", frame(bytes));
  auto record = co_await record_of(std::move(binary));
  EXPECT_EQ(text(record, "what"), "/bin/ls -l");
}

ACCESS_TEST(what_cannot_be_read_is_told_as_such_and_passes) {
  co_await publish();
  const std::pair<http::Request, std::string> cases[] = {
      {start("{\"process\":"), "not readable: "},
      {start(R"({"process":{"cmd":""}})"), "process.cmd"},
      {start("\x1f\x8b", wire::kFrameCompressed), "compressed"},
      {call("/process.Process/Start", "application/connect+json", "\1\2"), "compressed"},
      {call("/process.Process/Start", "application/connect+json", std::string(3, '\0')),
       "too early"},
      {call("/process.Process/Start", "text/plain", "{}"), "content type"},
  };
  for (const auto& [request, reason] : cases) {
    auto record = co_await record_of(request);
    EXPECT_EQ(text(record, "action"), "start");
    EXPECT_EQ(text(record, "verdict"), "allowed");
    EXPECT_EQ(text(record, "what"), "");
    EXPECT_THAT(text(record, "reason"), HasSubstr(reason));
    EXPECT_GE(number(record, "status"), 200);  // the guest has answered
  }
  // What was kept for reading is given back, or this would be too much.
  for (int i = 0; i < 6; ++i) {
    auto again = start(R"({"process":{"cmd":"echo","envs":{"A":")" + std::string(900'000, 'a') +
                       R"("}}})");
    auto record = co_await record_of(std::move(again));
    EXPECT_EQ(text(record, "what"), "echo");
  }
}

ACCESS_TEST(what_is_too_long_to_be_read_does_not_pass) {
  co_await publish();
  std::string pad(1 << 20, 'a');
  std::string padded = R"({"process":{"cmd":"echo","envs":{"A":")" + pad + R"("}}})";
  const http::Request cases[] = {
      start(padded),
      call("/process.Process/SendSignal", "application/json", "{\"a\":\"" + pad + "\"}"),
      call("/filesystem.Filesystem/Remove", "application/json",
           "{\"path\":\"/x\",\"a\":\"" + pad + "\"}"),
      call("/files/compose", "application/json", "{\"a\":\"" + pad + "\"}"),
  };
  for (const auto& request : cases) {
    auto response = co_await ask(request);
    EXPECT_EQ(response.status, 413u) << request.target;
    EXPECT_THAT(response.body, HasSubstr("longer than 1048576 bytes"));
    if (request.target.find('.') != std::string::npos) {
      EXPECT_THAT(response.body, HasSubstr("\"code\":\"resource_exhausted\""));
    }
    auto told = co_await records(1);
    EXPECT_EQ(text(told[0], "verdict"), "denied");
    EXPECT_EQ(text(told[0], "key"), "k1");
    EXPECT_EQ(number(told[0], "status"), 413);
    EXPECT_THAT(text(told[0], "reason"), HasSubstr("longer than 1048576 bytes"));
  }
  // What is typed into a program is told of without it.
  auto typed = call("/process.Process/SendInput", "application/json",
                    R"({"input":{"stdin":")" + pad + R"("}})");
  auto record = co_await record_of(std::move(typed));
  EXPECT_EQ(text(record, "action"), "input");
  EXPECT_EQ(text(record, "verdict"), "allowed");
}

ACCESS_TEST(a_crowd_of_messages_hides_none) {
  co_await publish();
  std::vector<http::Client> crowd;
  for (int i = 0; i < 5; ++i) {
    crowd.push_back(co_await this->client());
    auto head = call("/process.Process/List", "application/json", "");
    head.fields.set(http::Field::content_length, "1000000");
    CO_ASSERT_TRUE(co_await crowd.back().begin(std::move(head)));
    std::string most(999'999, ' ');
    (void)co_await crowd.back().write(asio::buffer(most));
  }
  // Whichever came last.
  auto told = co_await records(1);
  EXPECT_EQ(text(told[0], "verdict"), "denied");
  EXPECT_EQ(number(told[0], "status"), 429);
}

ACCESS_TEST(no_header_makes_a_message_unreadable_that_the_guest_reads) {
  co_await publish();
  // The daemon looks at the encoding of single messages only.
  auto encoded = start(R"({"process":{"cmd":"echo"}})");
  encoded.fields.set("Content-Encoding", "gzip");
  auto record = co_await record_of(std::move(encoded));
  EXPECT_EQ(text(record, "what"), "echo");
  EXPECT_EQ(number(record, "status"), 200);
  // What a connection says of itself takes nothing away that it is read by.
  auto stripped = start(R"({"process":{"cmd":"echo"}})");
  stripped.fields.set("Connection", "Content-Type, Authorization, Content-Encoding");
  auto response = co_await ask(std::move(stripped));
  EXPECT_THAT(response.body, HasSubstr(base64_encode("Basic cm9vdDo=")));
  auto told = co_await records(1);
  EXPECT_EQ(text(told[0], "user"), "root");
}

ACCESS_TEST(files_are_told_with_what_was_moved) {
  co_await publish();
  auto read = request("/files?path=%2Fetc%2Fx&username=user");
  read.fields.set("X-Access-Token", "grant-of-k2");
  auto told = co_await record_of(std::move(read));
  EXPECT_EQ(text(told, "kind"), "file");
  EXPECT_EQ(text(told, "action"), "read");
  EXPECT_EQ(text(told, "key"), "k2.0123456789abcdef");
  EXPECT_EQ(text(told, "user"), "user");
  EXPECT_EQ(text(told, "what"), "/etc/x");
  EXPECT_EQ(number(told, "bytes"), 35);  // "files " and the query
  EXPECT_EQ(number(told, "status"), 200);
  auto write = call("/files?path=b", "application/octet-stream", std::string(100'000, 'b'));
  told = co_await record_of(std::move(write));
  EXPECT_EQ(text(told, "action"), "write");
  EXPECT_EQ(text(told, "what"), "b");
  EXPECT_EQ(number(told, "bytes"), 100'000);
  std::string form =
      "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"one\"\r\n\r\nabc\r\n"
      "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"/two\"\r\n\r\n\r\n--XX--";
  auto several = call("/files", "multipart/form-data; boundary=XX", form);
  (void)co_await ask(std::move(several));
  auto parts = co_await records(2);
  EXPECT_EQ(text(parts[0], "what"), "one");
  EXPECT_EQ(number(parts[0], "bytes"), 3);
  EXPECT_EQ(text(parts[1], "what"), "/two");
  EXPECT_EQ(number(parts[1], "bytes"), 0);
}

ACCESS_TEST(calls_of_the_file_system_are_told_with_their_paths) {
  co_await publish();
  struct Case {
    std::string method, message, action, what, detail;
  };
  const Case cases[] = {
      {"ListDir", R"({"path":"/a"})", "list", "/a", ""},
      {"MakeDir", R"({"path":"/b"})", "mkdir", "/b", ""},
      {"Remove", R"({"path":"/c"})", "remove", "/c", ""},
      {"Move", R"({"source":"/d","destination":"/e"})", "move", "/d", "/e"},
      {"Stat", R"({"path":"/f"})", "stat", "/f", ""},
  };
  for (const Case& one : cases) {
    auto request = call("/filesystem.Filesystem/" + one.method, "application/json", one.message);
    auto record = co_await record_of(std::move(request));
    EXPECT_EQ(text(record, "kind"), "file");
    EXPECT_EQ(text(record, "action"), one.action);
    EXPECT_EQ(text(record, "what"), one.what);
    EXPECT_EQ(text(record, "detail"), one.detail);
  }
  auto signal = call("/process.Process/SendSignal", "application/json",
                     R"({"process":{"pid":42},"signal":"SIGNAL_SIGKILL"})");
  auto record = co_await record_of(std::move(signal));
  EXPECT_EQ(text(record, "action"), "signal");
  EXPECT_EQ(text(record, "what"), "pid 42");
  EXPECT_EQ(text(record, "detail"), "SIGKILL");
  auto composed = call("/files/compose", "application/json",
                       R"({"source_paths":["/a b","c"],"destination":"/d"})");
  record = co_await record_of(std::move(composed));
  EXPECT_EQ(text(record, "what"), "/d");
  EXPECT_EQ(text(record, "detail"), "'/a b' c");
}

ACCESS_TEST(refusals_are_told_and_strangers_fill_nothing_with_their_inventions) {
  co_await publish();
  for (int i = 0; i < 50; ++i) {
    auto stranger = request("/files?path=" + std::to_string(i));
    stranger.fields.set("X-Access-Token", "invented" + std::to_string(i));
    (void)co_await ask(std::move(stranger));
  }
  for (int i = 0; i < 500; ++i) {
    int64_t count = 0;
    for (const auto& record : node_->access_records()) count += number(record, "count");
    if (count >= 50) break;
    co_await sleep_for(2ms);
  }
  auto refused = std::exchange(node_->access_records(), {});
  EXPECT_LT(refused.size(), 40u);  // alike within a moment are one
  for (const auto& record : refused) {
    EXPECT_EQ(text(record, "verdict"), "denied");
    EXPECT_EQ(text(record, "kind"), "file");
    EXPECT_EQ(text(record, "key"), "");
    EXPECT_EQ(text(record, "what"), "");
    EXPECT_EQ(number(record, "status"), 401);
  }
  auto unfit = call("/files?path=x", "text/plain", "b", "grant-of-k2");
  auto record = co_await record_of(std::move(unfit));
  EXPECT_EQ(text(record, "verdict"), "denied");
  EXPECT_EQ(text(record, "key"), "k2.0123456789abcdef");
  EXPECT_EQ(text(record, "what"), "x");
  EXPECT_EQ(number(record, "status"), 403);
  EXPECT_THAT(text(record, "reason"), HasSubstr("files.write"));
}

ACCESS_TEST(ports_are_told_once_a_second_with_how_often) {
  co_await publish();
  for (int i = 0; i < 5; ++i) {
    auto service = request("/x", "box1", kService);
    (void)co_await ask(std::move(service));
  }
  int64_t count = 0;
  for (int i = 0; i < 2000 && count < 5; ++i) {
    co_await sleep_for(2ms);
    count = 0;
    for (const auto& record : node_->access_records()) count += number(record, "count");
  }
  EXPECT_EQ(count, 5);
  EXPECT_LE(node_->access_records().size(), 2u);
  const auto& record = node_->access_records()[0];
  EXPECT_EQ(text(record, "kind"), "port");
  EXPECT_EQ(text(record, "what"), "8080");
  auto closed = request("/x", "box1", 8081);
  (void)co_await ask(std::move(closed));
  node_->access_records().clear();
  auto refusing = grants();
  refusing["traffic_token"] = "let-me-in";
  auto publishing = node_->publish("m1-1", "box1", "token1", std::move(refusing));
  CO_ASSERT_TRUE(co_await std::move(publishing));
  auto stranger = request("/x", "box1", kService);
  auto refused = co_await record_of(std::move(stranger));
  EXPECT_EQ(text(refused, "verdict"), "denied");
  EXPECT_EQ(text(refused, "what"), "8080");
  EXPECT_EQ(number(refused, "status"), 403);
}

ACCESS_TEST(what_is_under_way_is_told_of_before_its_machine_goes) {
  co_await publish();
  auto upload = co_await this->client();
  auto head = call("/files?path=half", "application/octet-stream", "");
  CO_ASSERT_TRUE(co_await upload.begin(std::move(head)));
  CO_ASSERT_TRUE(co_await upload.write(asio::buffer("12345", 5)));
  while (guest_->established_connections(49983) == 0) co_await sleep_for(1ms);
  auto service = request("/x", "box1", kService);
  (void)co_await ask(std::move(service));
  auto order = node_->order("machine.remove", machine());
  CO_ASSERT_TRUE(co_await std::move(order));
  // They are there when the answer is: behind it nobody would ask whose they were.
  CO_ASSERT_TRUE(node_->access_records().size() == 2);
  const auto& half = node_->access_records()[0];
  EXPECT_EQ(text(half, "what"), "half");
  EXPECT_EQ(number(half, "bytes"), 5);
  EXPECT_EQ(number(half, "status"), 0);
  EXPECT_EQ(text(node_->access_records()[1], "what"), "8080");
}

ACCESS_TEST(a_gate_that_is_asked_to_stop_tells_all_it_knows_first) {
  co_await publish();
  auto client = co_await this->client();
  auto hanging = start(R"({"process":{"cmd":"hang"}})");
  CO_ASSERT_TRUE(co_await client.start(std::move(hanging)));
  auto service = request("/x", "box1", kService);
  (void)co_await ask(std::move(service));
  gate_->process().send_signal(SIGTERM);
  auto told = co_await records(2);
  EXPECT_EQ(text(told[0], "what"), "hang");
  EXPECT_EQ(text(told[1], "what"), "8080");
  // A second signal behind the first would end it at once.
  EXPECT_EQ((co_await gate_->process().wait()).code, 0);
}

ACCESS_TEST(open_boxes_are_told_of_and_machines_of_builds_are_not) {
  CO_ASSERT_TRUE(co_await node_->publish("m1-1", "box1", ""));
  auto open = start(R"({"process":{"cmd":"echo"}})");
  auto record = co_await record_of(std::move(open));
  EXPECT_EQ(text(record, "what"), "echo");
  EXPECT_EQ(text(record, "key"), "");
  CO_ASSERT_TRUE(co_await node_->publish("m1-1", "build1", "token1"));
  auto build = start(R"({"process":{"cmd":"echo"}})");
  build.fields.set("E2b-Sandbox-Id", "build1");
  (void)co_await ask(std::move(build));
  CO_ASSERT_TRUE(co_await node_->publish("m1-1", "box1", ""));
  auto last = start(R"({"process":{"cmd":"refused"}})");
  record = co_await record_of(std::move(last));
  EXPECT_EQ(text(record, "what"), "refused");
}

ACCESS_TEST(a_node_that_was_away_hears_of_what_happened_meanwhile) {
  co_await publish();
  node_->disconnect();
  auto away = start(R"({"process":{"cmd":"echo","args":["away"]}})");
  auto record = co_await record_of(std::move(away));
  EXPECT_EQ(text(record, "what"), "echo away");
}

}  // namespace
}  // namespace hako::test
