// The binary codec of both services, through the real daemon.
#include <boost/json/serialize.hpp>

#include <filesystem>
#include <fstream>

#include "base/encoding.h"
#include "integration/guest_daemon.h"
#include "wire/connect.h"
#include "wire/json_text.h"
#include "wire/services.h"

namespace hako::guest {
namespace {

namespace json = boost::json;

constexpr std::pair<const char*, const char*> kProto{"Content-Type", "application/proto"};

class GuestCodec : public GuestDaemonTest {
 protected:
  /// Field `number` with `content`, as the format has it: written by hand here, so that the codec
  /// is not only compared with itself.
  static std::string sized(int number, const std::string& content) {
    EXPECT_LT(content.size(), 128u);
    return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(content.size()) +
           content;
  }
  Reply call(const std::string& method, const std::string& message) {
    return request(http::Verb::post, "/" + method, message, {kProto});
  }
  static json::object decode(const wire::ProtoMessage& message, std::string_view bytes) {
    auto object = wire::proto_to_json(message, bytes);
    EXPECT_TRUE(object) << object.error().message();
    return object ? object.value() : json::object();
  }
  /// The frames of a whole streaming call: payloads, the end frame's last.
  std::vector<std::string> frames(const std::string& method, const std::string& messages) {
    auto reply = request(http::Verb::post, "/" + method, messages,
                         {{"Content-Type", "application/connect+proto"}});
    EXPECT_EQ(reply.status, 200u) << reply.body;
    EXPECT_EQ(reply.fields[http::Field::content_type], "application/connect+proto");
    std::vector<std::string> payloads;
    wire::FrameDecoder decoder(1 << 20);
    decoder.feed(reply.body);
    for (;;) {
      auto frame = decoder.next();
      if (!frame || !frame.value()) break;
      payloads.emplace_back(frame.value()->payload);
    }
    EXPECT_TRUE(decoder.at_boundary());
    return payloads;
  }
  static std::string frame(const std::string& payload) {
    std::string out;
    size_t start = wire::begin_frame(out);
    out += payload;
    wire::end_frame(out, start);
    return out;
  }
};

TEST_F(GuestCodec, AnswersUnaryCalls) {
  std::ofstream(folder_ + "/file") << "12345";
  auto reply = call("filesystem.Filesystem/Stat", sized(1, folder_ + "/file"));
  ASSERT_EQ(reply.status, 200u) << reply.body;
  EXPECT_EQ(reply.fields[http::Field::content_type], "application/proto");
  auto entry = decode(*wire::find_filesystem_method("Stat")->response, reply.body).at("entry");
  EXPECT_EQ(entry.at("name").as_string(), "file");
  EXPECT_EQ(entry.at("type").as_string(), "FILE_TYPE_FILE");
  EXPECT_EQ(entry.at("size").as_int64(), 5);
  EXPECT_EQ(entry.at("mode").as_int64(), 0644);
  auto as_json = unary("filesystem.Filesystem/Stat", R"({"path":")" + folder_ + "/file\"}");
  EXPECT_NE(as_json.body.find(std::string(entry.at("modifiedTime").as_string())), std::string::npos)
      << as_json.body;
  // A depth is a number, an empty answer is no bytes.
  auto list = call("filesystem.Filesystem/ListDir", sized(1, folder_) + "\x10\x01");
  EXPECT_EQ(decode(*wire::find_filesystem_method("ListDir")->response, list.body)
                .at("entries")
                .as_array()
                .size(),
            1u);
  auto removed = call("filesystem.Filesystem/Remove", sized(1, folder_ + "/file"));
  EXPECT_EQ(removed.status, 200u);
  EXPECT_EQ(removed.body, "");
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/file"));
}

TEST_F(GuestCodec, TellsErrorsAsJson) {
  auto missing = call("filesystem.Filesystem/Stat", sized(1, folder_ + "/missing"));
  EXPECT_EQ(missing.status, 404u);
  EXPECT_EQ(missing.fields[http::Field::content_type], "application/json");
  EXPECT_NE(missing.body.find("\"not_found\""), std::string::npos);
  auto failed = frames("process.Process/Connect", frame(sized(1, "\x08\x01")));
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_NE(failed[0].find("\"not_found\""), std::string::npos) << failed[0];
}

TEST_F(GuestCodec, StreamsProcesses) {
  std::string variable = sized(1, "V") + sized(2, "value");
  std::string config = sized(1, "sh") + sized(2, "-c") + sized(2, "echo $V $0; exit 3") +
                       sized(2, "zero") + sized(3, variable) + sized(4, "/");
  auto events = frames("process.Process/Start", frame(sized(1, config) + sized(3, "tag")));
  ASSERT_GE(events.size(), 4u);
  EXPECT_EQ(events.back(), "{}");
  const auto& shape = *wire::find_process_method("Start")->response;
  auto first = decode(shape, events.front()).at("event").as_object();
  EXPECT_GT(first.at("start").at("pid").as_int64(), 1);
  EXPECT_EQ(events[1], sized(1, sized(2, sized(1, "value zero\n"))));
  auto last = decode(shape, events[events.size() - 2]).at("event").at("end").as_object();
  EXPECT_EQ(last.at("exitCode").as_int64(), 3);
  EXPECT_TRUE(last.at("exited").as_bool());
  EXPECT_EQ(last.at("error").as_string(), "exit status 3");
  // Killed: the code is -1, which is 1 in zigzag.
  auto request = frame(sized(1, sized(1, "sh") + sized(2, "-c") + sized(2, "kill -9 $$")));
  auto killed = frames("process.Process/Start", request);
  ASSERT_GE(killed.size(), 3u);
  EXPECT_TRUE(killed[killed.size() - 2].substr(4).starts_with("\x08\x01"));
}

TEST_F(GuestCodec, CarriesInputAsItIs) {
  std::string input("\0\xff\x80 bytes", 9);
  auto call_cat = [](http::Client& client, http::Request request, uint32_t& pid) -> Task<bool> {
    auto head = co_await client.start(std::move(request));
    if (!head) throw std::runtime_error(head.error().message());
    wire::FrameDecoder decoder(1 << 16);
    std::vector<char> buffer(4096);
    auto n = co_await client.read_some(asio::buffer(buffer));
    if (!n) throw std::runtime_error(n.error().message());
    decoder.feed({buffer.data(), n.value()});
    auto event = decoder.next();
    if (!event || !event.value()) throw std::runtime_error("no start event");
    auto message =
        wire::proto_to_json(*wire::find_process_method("Start")->response, event.value()->payload);
    pid = static_cast<uint32_t>(message.value().at("event").at("start").at("pid").as_int64());
    co_return true;
  };
  http::Request start = stream_request(
      "process.Process/Start", sized(1, sized(1, "sh") + sized(2, "-c") + sized(2, "cat > copy")));
  start.fields.set(http::Field::content_type, "application/connect+proto");
  auto client = run(connect());
  uint32_t pid = 0;
  run(call_cat(client, std::move(start), pid));
  json::object process{{"process", json::object{{"pid", pid}}}};
  std::string selector;
  ASSERT_TRUE(
      wire::append_proto(selector, *wire::find_process_method("CloseStdin")->request, process));
  auto sent = call("process.Process/SendInput", selector + sized(2, sized(1, input)));
  EXPECT_EQ(sent.status, 200u) << sent.body;
  // The same as a stream of messages: the process first, then what it is to read.
  std::string start_message = sized(1, selector);
  std::string data_message = sized(2, sized(2, sized(1, "more")));
  auto streamed = frames("process.Process/StreamInput",
                         frame(start_message) + frame(data_message) + frame(sized(3, "")));
  ASSERT_EQ(streamed.size(), 2u);
  EXPECT_EQ(streamed[0], "");
  EXPECT_EQ(call("process.Process/CloseStdin", selector).status, 200u);
  std::string copy;
  for (int i = 0; i < 2000 && copy.size() < input.size() + 4; ++i) {
    call("process.Process/List", "");
    std::ifstream file(folder_ + "/copy");
    copy.assign(std::istreambuf_iterator<char>(file), {});
  }
  EXPECT_EQ(copy, input + "more");
}

TEST_F(GuestCodec, RefusesWhatIsNoMessage) {
  const std::string stat = "filesystem.Filesystem/Stat";
  for (const std::string& wrong :
       {std::string("\x0a\xff\xff\xff\xff\x0f"), std::string("\x0a\x05/tm"),
        std::string("\x0a\x01\xff"), std::string("\x0b"), std::string("\x00\x01", 2),
        std::string(11, '\xff'), std::string("\x0a")}) {
    auto reply = call(stat, wrong);
    EXPECT_EQ(reply.status, 400u) << hex_encode(wrong) << " " << reply.body;
    EXPECT_NE(reply.body.find("\"invalid_argument\""), std::string::npos) << reply.body;
  }
  // What is not known is passed over, whatever its wire type.
  std::string unknown = std::string("\x78\x01", 2) + std::string("\x79\0\0\0\0\0\0\0\0", 9) +
                        std::string("\x7d\0\0\0\0", 5) + sized(15, "x");
  EXPECT_EQ(call(stat, unknown + sized(1, folder_)).status, 200u);
  // A name of the wrong type is no name.
  EXPECT_EQ(call("process.Process/SendSignal", "\x08\x01").status, 400u);
  std::string many;
  for (int i = 0; i < 200'000; ++i) many += std::string("\x12\x00", 2);
  auto refused = frames("process.Process/Start", frame("\x0a\x80\xb5\x18" + many));
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_NE(refused[0].find("too many elements"), std::string::npos) << refused[0];
  EXPECT_EQ(
      request(http::Verb::post, "/" + stat, "{}", {{"Content-Type", "application/connect+proto"}})
          .status,
      415u);
  EXPECT_EQ(
      request(http::Verb::post, "/" + stat, "x", {kProto, {"Content-Encoding", "gzip"}}).status,
      501u);
}

}  // namespace
}  // namespace hako::guest
