// How bytes pass, and how many may.
#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "support/gate_lab_egress.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Clock = std::chrono::steady_clock;

class EgressBytesTest : public EgressTest {
 protected:
  /// Of the gate's own memory, KiB, and of what the kernel holds in sockets and pipes for anybody.
  int64_t resident_kib() {
    std::ifstream status("/proc/" + std::to_string(gate_->process().pid()) + "/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
    return 0;
  }

  size_t descriptors() {
    size_t count = 0;
    std::string path = "/proc/" + std::to_string(gate_->process().pid()) + "/fd";
    for (auto& entry : std::filesystem::directory_iterator(path)) count += entry.exists() ? 1 : 0;
    return count;
  }

  /// Of the gate, ever.
  Duration processor_time() {
    std::ifstream file("/proc/" + std::to_string(gate_->process().pid()) + "/stat");
    std::string line;
    std::getline(file, line);
    // After the name, which ends with a parenthesis, the 12th and 13th: user and system.
    std::istringstream fields(line.substr(line.rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    int64_t user = 0, system = 0;
    fields >> user >> system;
    return std::chrono::milliseconds((user + system) * 1000 / ::sysconf(_SC_CLK_TCK));
  }

  /// Ends of pipes that the gate has.
  size_t pipes() {
    size_t count = 0;
    std::string path = "/proc/" + std::to_string(gate_->process().pid()) + "/fd";
    std::error_code gone;
    for (auto& entry : std::filesystem::directory_iterator(path))
      count += std::filesystem::read_symlink(entry, gone).string().starts_with("pipe:") ? 1 : 0;
    return count;
  }

  /// Opens connections until one is not let in, `most` at most, and keeps them.
  Task<std::vector<http::Stream>> open_many(int most) {
    std::vector<http::Stream> open;
    for (int i = 0; i < most; ++i) {
      try {
        auto stream = co_await connect(World::kWeb, World::kEcho);
        co_await send(stream, "x");
        co_await receive(stream, 1);
        open.push_back(std::move(stream));
      } catch (const boost::system::system_error&) {
        break;
      }
    }
    co_return open;
  }

  /// Bytes told of while connections are open, once they are as many; else what there is after 5 s.
  Task<int64_t> moved(int64_t wanted) {
    int64_t sum = 0;
    for (int tries = 0; tries < 500; ++tries) {
      sum = 0;
      for (const auto& record : node_->egress_records()) {
        if (record.at("verdict") == "moved") sum += record.at("bytes_out").to_number<int64_t>();
      }
      if (sum >= wanted) break;
      co_await sleep_for(10ms);
    }
    co_return sum;
  }
};

EGRESS_TEST_IN(EgressBytesTest, what_moves_is_told_while_the_connection_is_open) {
  co_await set_policy(internet());
  auto stream = co_await connect(World::kWeb, World::kEcho);
  co_await send(stream, "hello");
  co_await receive(stream, 5);
  co_await record(R"({"verdict":"moved","connection":0,"box":"box1"})");
  // It may have been told in parts.
  EXPECT_EQ(co_await moved(10), 10);
  co_await send(stream, "again!");
  co_await receive(stream, 6);
  EXPECT_EQ(co_await moved(22), 22);
  stream.close();
  auto ended = co_await record(R"({"verdict":"ended"})");
  EXPECT_EQ(ended.at("bytes_out").to_number<int64_t>(), 11);
}

EGRESS_TEST_IN(EgressBytesTest, a_hundred_megabytes_arrive_as_they_were_sent) {
  co_await set_policy(internet());
  constexpr uint64_t kBytes = 100 << 20;
  auto up = co_await connect(World::kWeb, World::kDigest);
  uint64_t digest = digest_of("");
  for (uint64_t sent = 0; sent < kBytes;) {
    std::string piece = pattern_at(sent, 256 << 10);
    digest = digest_of(piece, digest);
    co_await asio::async_write(up, asio::buffer(piece), asio::use_awaitable);
    sent += piece.size();
  }
  // Each direction ends on its own: the answer comes after the end of what was sent.
  up.shutdown(http::Stream::shutdown_send);
  auto answer = co_await rest_of(up, 20s);
  EXPECT_EQ(answer, std::to_string(kBytes) + " " + std::to_string(digest));
  auto down = co_await connect(World::kWeb, World::kSource);
  co_await send(down, std::to_string(kBytes) + "\n");
  uint64_t received = 0;
  bool right = true;
  std::vector<char> buffer(256 << 10);
  boost::system::error_code error;
  while (!error) {
    size_t count = co_await down.async_read_some(
        asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    right = right && pattern_at(received, count) == std::string_view(buffer.data(), count);
    received += count;
  }
  EXPECT_EQ(received, kBytes);
  EXPECT_TRUE(right);
  EXPECT_EQ(error, asio::error::eof);
  down.close();
  auto ended = co_await record(R"({"verdict":"ended","port":7003})");
  EXPECT_EQ(ended.at("bytes_in").to_number<uint64_t>(), kBytes);
  auto sent = co_await record(R"({"verdict":"ended","port":7002})");
  EXPECT_EQ(sent.at("bytes_out").to_number<uint64_t>(), kBytes);
}

EGRESS_TEST_IN(EgressBytesTest, who_reads_slowly_makes_the_server_wait) {
  co_await set_policy(internet());
  auto first = co_await open_many(1);
  CO_ASSERT_TRUE(first.size() == 1);
  int64_t before = resident_kib();
  size_t descriptors_before = descriptors();
  size_t pipes_before = pipes();
  std::vector<http::Stream> slow;
  for (int i = 0; i < 50; ++i) {
    slow.push_back(co_await connect(World::kWeb, World::kSource));
    co_await send(slow.back(), "1000000000\n");
  }
  co_await sleep_for(1500ms);
  EXPECT_LT(resident_kib() - before, 8 << 10);
  // Nor does one of them hold a pipe, which would be in the kernel's memory and counted to the gate.
  EXPECT_LE(pipes(), pipes_before + 2 * 4);
  // The others go on.
  co_await send(first[0], "still here");
  EXPECT_EQ(co_await receive(first[0], 10), "still here");
  // And each goes on when it reads again.
  auto some = co_await receive(slow[7], 4 << 20);
  EXPECT_EQ(some, pattern_at(0, some.size()));
  slow.clear();
  while (world_->open > 1) co_await sleep_for(5ms);
  // What was in the pipes of those that broke has gone with them.
  while (descriptors() > descriptors_before + 2 * 64) co_await sleep_for(5ms);
}

void send_urgent(http::Stream& stream, std::string_view bytes) {
  EXPECT_EQ(::send(stream.native_handle(), bytes.data(), bytes.size(), MSG_OOB),
            static_cast<ssize_t>(bytes.size()));
}

EGRESS_TEST_IN(EgressBytesTest, an_urgent_byte_stops_nothing) {
  co_await set_policy(internet());
  auto first = co_await connect(World::kWeb, World::kEcho);
  co_await send(first, "hello");
  EXPECT_EQ(co_await receive(first, 5), "hello");
  auto before = processor_time();
  // The last byte of what is sent so is the urgent one, and is not passed on.
  send_urgent(first, "!");
  co_await sleep_for(500ms);
  co_await send(first, "more");
  EXPECT_EQ(co_await receive(first, 4), "more");
  send_urgent(first, "ab!");
  co_await send(first, "cd");
  EXPECT_EQ(co_await receive(first, 4), "abcd");
  // Where the end is there already.
  send_urgent(first, "ef!");
  co_await send(first, "gh");
  first.shutdown(http::Stream::shutdown_send);
  EXPECT_EQ(co_await rest_of(first), "efgh");
  co_await sleep_for(500ms);
  EXPECT_LT(processor_time() - before, 200ms);
}

EGRESS_TEST_IN(EgressBytesTest, an_urgent_byte_of_the_server_stops_nothing) {
  co_await set_policy(internet());
  auto stream = co_await connect(World::kWeb, World::kUrgent);
  co_await send(stream, "x");
  auto before = processor_time();
  co_await sleep_for(1s);
  EXPECT_LT(processor_time() - before, 200ms);
  EXPECT_EQ(co_await rest_of(stream), "hello world");
}

EGRESS_TEST_IN(EgressBytesTest, a_reset_is_passed_on) {
  co_await set_policy(internet());
  auto stream = co_await connect(World::kWeb, World::kEcho);
  co_await send(stream, "hello");
  EXPECT_EQ(co_await receive(stream, 5), "hello");
  EXPECT_EQ(world_->open, 1);
  http::reset_connection(stream);
  while (world_->open > 0) co_await sleep_for(1ms);
  auto ended = co_await record(R"({"verdict":"ended","port":7000})");
  EXPECT_THAT(std::string(ended.at("reason").as_string()), HasSubstr("reset"));
}

EGRESS_TEST_IN(EgressBytesTest, connections_are_limited_per_box) {
  auto policy = internet();
  policy.limits.connections = 20;
  co_await set_policy(policy);
  auto open = co_await open_many(30);
  EXPECT_EQ(open.size(), 20u);
  co_await record(R"({"verdict":"denied","rule":"limits.connections","name":""})");
  open.pop_back();
  while (world_->open > 19) co_await sleep_for(1ms);
  auto again = co_await open_many(1);
  EXPECT_EQ(again.size(), 1u);
}

/// The gate with few descriptors.
class EgressRoomTest : public EgressBytesTest {
 protected:
  std::string gate_program() const override {
    std::string script = directory_ + "/few-descriptors";
    (void)write_file_atomically(
        script, "#!/bin/sh\nulimit -n 600\nexec " + std::string(HAKO_GATE_PROGRAM) + " \"$@\"\n",
        0755);
    return script;
  }
};

EGRESS_TEST_IN(EgressRoomTest, no_box_takes_all_room_of_the_gate) {
  co_await set_policy(internet());
  auto open = co_await open_many(100);
  EXPECT_GT(open.size(), 20u);
  EXPECT_LT(open.size(), 30u);
  co_await record(R"({"verdict":"denied","rule":"limits.gate"})");
  EXPECT_LT(descriptors(), 200u);
  for (auto& stream : open) {
    co_await send(stream, "y");
    EXPECT_EQ(co_await receive(stream, 1), "y");
  }
  auto reply = co_await ask_dns("web.example");
  EXPECT_EQ(reply.rcode, 0);
}

EGRESS_TEST_IN(EgressBytesTest, a_flood_of_connections_is_held_back_and_joined_in_one_record) {
  auto policy = internet();
  policy.limits.connections = 10;
  policy.limits.connects_per_second = 10;
  co_await set_policy(policy);
  int reset = 0;
  for (int i = 0; i < 500; ++i) {
    auto open = co_await open_many(1);
    if (open.empty()) ++reset;
  }
  EXPECT_GT(reset, 400);
  auto joined = co_await record(R"({"verdict":"denied","rule":"limits.connects"})");
  int64_t denied = 0;
  co_await sleep_for(500ms);
  size_t records = 0;
  for (const auto& one : node_->egress_records()) {
    if (one.at("rule") != "limits.connects") continue;
    denied += one.at("count").to_number<int64_t>();
    ++records;
  }
  EXPECT_EQ(denied, reset);
  EXPECT_LT(records, 50u);
}

EGRESS_TEST_IN(EgressBytesTest, what_cannot_be_joined_is_bounded_and_counted) {
  auto policy = internet();
  policy.limits.names_per_second = 0;
  co_await set_policy(policy);
  constexpr int kNames = 2000;
  for (int i = 0; i < kNames; ++i) {
    auto reply = co_await ask_dns("n" + std::to_string(i) + ".example");
    EXPECT_EQ(reply.rcode, 0);
  }
  int64_t told = 0, dropped = 0;
  for (int tries = 0; tries < 300 && told + dropped < kNames; ++tries) {
    co_await sleep_for(10ms);
    told = dropped = 0;
    for (const auto& one : node_->egress_records()) {
      if (one.at("verdict") == "dropped")
        dropped += one.at("count").to_number<int64_t>();
      else if (one.at("kind") == "dns")
        told += one.at("count").to_number<int64_t>();
    }
  }
  EXPECT_EQ(told + dropped, kNames);
}

EGRESS_TEST_IN(EgressBytesTest, questions_are_limited_per_box) {
  auto policy = internet();
  policy.limits.names_per_second = 5;
  co_await set_policy(policy);
  int answered = 0, refused = 0;
  for (int i = 0; i < 100; ++i) {
    auto reply = co_await ask_dns("web.example");
    if (reply.rcode == 0) ++answered;
    if (reply.rcode == 5) ++refused;
  }
  EXPECT_EQ(answered + refused, 100);
  EXPECT_LT(answered, 30);
  co_await record(R"({"kind":"dns","verdict":"denied","rule":"limits.names","name":""})");
}

EGRESS_TEST_IN(EgressBytesTest, bytes_per_second_are_limited_for_all_connections_together) {
  auto policy = internet();
  policy.limits.bytes_per_second = 1 << 20;
  co_await set_policy(policy);
  auto start = Clock::now();
  auto one = co_await connect(World::kWeb, World::kSource);
  auto other = co_await connect(World::kWeb, World::kSource);
  co_await send(one, "1048576\n");
  co_await send(other, "1048576\n");
  auto first = co_await rest_of(one, 10s);
  auto second = co_await rest_of(other, 10s);
  EXPECT_EQ(first.size() + second.size(), size_t{2 << 20});
  auto took = Clock::now() - start;
  EXPECT_GT(took, 1500ms);
  EXPECT_LT(took, 4s);
}

EGRESS_TEST_IN(EgressBytesTest, bytes_in_all_are_limited) {
  auto policy = internet();
  policy.limits.bytes_total = 300'000;
  co_await set_policy(policy);
  auto stream = co_await connect(World::kWeb, World::kSource);
  co_await send(stream, "100000000\n");
  auto got = co_await rest_of(stream, 10s);
  EXPECT_THAT(got, testing::EndsWith("<reset>"));
  // What was asked with counts as well.
  EXPECT_LE(got.size(), 300'000 + std::string("<reset>").size());
  auto next = co_await talk(World::kWeb, World::kEcho, "x");
  EXPECT_EQ(next, "<reset>");
  co_await record(R"({"verdict":"denied","rule":"limits.bytes"})");
}

EGRESS_TEST_IN(EgressBytesTest, http_is_counted_and_limited_as_well) {
  auto policy = allow("web.example");
  policy.limits.bytes_total = 1 << 20;
  co_await set_policy(policy);
  std::string address = co_await lookup("web.example");
  std::string head = "POST /x HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n";
  auto small = co_await talk(address, World::kHttp,
                             head + "Content-Length: 100000\r\n\r\n" + std::string(100000, 'b'));
  EXPECT_THAT(small, HasSubstr("web web.example /x 100000"));
  auto ended = co_await record(R"({"verdict":"ended","port":80,"name":"web.example"})");
  EXPECT_GT(ended.at("bytes_out").to_number<int64_t>(), 100000);
  EXPECT_GT(ended.at("bytes_in").to_number<int64_t>(), 50);
  auto large = co_await talk(address, World::kHttp,
                             head + "Content-Length: 2000000\r\n\r\n" + std::string(2000000, 'b'));
  EXPECT_THAT(large, testing::Not(HasSubstr("200 OK")));
}

}  // namespace
}  // namespace hako::test
