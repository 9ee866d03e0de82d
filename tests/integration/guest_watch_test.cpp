// Watched folders, through the real daemon.
#include <sys/stat.h>
#include <unistd.h>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <filesystem>
#include <fstream>
#include <set>

#include "integration/guest_daemon.h"
#include "wire/connect.h"
#include "wire/json_text.h"

namespace hako::guest {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;

/// "CREATE name"
std::string brief(const json::object& event) {
  auto type = std::string(event.at("type").as_string());
  return type.substr(std::string("EVENT_TYPE_").size()) + " " +
         std::string(event.at("name").as_string());
}

class GuestWatch : public GuestDaemonTest {
 protected:
  /// A WatchDir stream.
  struct Watching {
    explicit Watching(http::Client connected) : client(std::move(connected)) {}
    http::Client client;
    wire::FrameDecoder decoder{1 << 20};
    std::optional<Result<void>> end;
  };

  static Task<std::unique_ptr<Watching>> begin(Task<http::Client> connecting,
                                               http::Request request) {
    auto client = co_await std::move(connecting);
    auto watching = std::make_unique<Watching>(std::move(client));
    auto head = co_await watching->client.start(std::move(request));
    if (!head || head.value().status != 200) throw std::runtime_error("WatchDir failed");
    co_return watching;
  }
  /// The next message; an empty object at the end of the stream.
  static Task<json::object> next(Watching& watching) {
    std::vector<char> buffer(64 << 10);
    for (;;) {
      auto frame = watching.decoder.next();
      if (!frame) throw std::runtime_error(frame.error().message());
      if (frame.value() && frame.value()->is_end()) {
        watching.end = wire::parse_end_frame(frame.value()->payload);
        co_return json::object();
      }
      if (frame.value()) {
        auto message = wire::parse_object(frame.value()->payload);
        if (!message) throw std::runtime_error(message.error().message());
        co_return message.value();
      }
      auto n = co_await watching.client.read_some(asio::buffer(buffer));
      if (!n || n.value() == 0) throw std::runtime_error("the stream was cut");
      watching.decoder.feed({buffer.data(), n.value()});
    }
  }
  std::unique_ptr<Watching> watch(const std::string& more = "") {
    auto watching =
        run(begin(connect(), stream_request("filesystem.Filesystem/WatchDir",
                                            R"({"path":")" + folder_ + "\"" + more + "}")));
    auto first = run(next(*watching));
    EXPECT_TRUE(first.contains("start")) << json::serialize(first);
    return watching;
  }
  /// The events up to, and without, the making of a file called `last`.
  std::vector<json::object> events_until(Watching& watching, const std::string& last) {
    std::vector<json::object> events;
    for (;;) {
      auto message = run(next(watching));
      if (!message.contains("filesystem")) break;
      events.push_back(message["filesystem"].as_object());
      if (brief(events.back()) == "CREATE " + last) break;
    }
    EXPECT_FALSE(events.empty());
    if (!events.empty()) events.pop_back();
    return events;
  }
  std::vector<std::string> briefs_until(Watching& watching, const std::string& last) {
    make(last);
    std::vector<std::string> list;
    for (const auto& event : events_until(watching, last)) list.push_back(brief(event));
    return list;
  }
  void make(const std::string& name, const std::string& text = "") {
    std::ofstream(folder_ + "/" + name) << text;
  }
  Reply filesystem(const std::string& method, const std::string& body) {
    return unary("filesystem.Filesystem/" + method, body);
  }
  std::string create_watcher(const std::string& more = "") {
    auto made = filesystem("CreateWatcher", R"({"path":")" + folder_ + "\"" + more + "}");
    EXPECT_EQ(made.status, 200u) << made.body;
    return std::string(json::parse(made.body).at("watcherId").as_string());
  }
  Reply poll(const std::string& id) {
    return filesystem("GetWatcherEvents", R"({"watcherId":")" + id + "\"}");
  }
  /// Polls until `wanted` has been seen: all events on the way.
  std::vector<std::string> poll_until(const std::string& id, const std::string& wanted) {
    std::vector<std::string> seen;
    for (int i = 0; i < 2000; ++i) {
      auto reply = poll(id);
      EXPECT_EQ(reply.status, 200u) << reply.body;
      if (reply.status != 200) return seen;
      auto body = json::parse(reply.body);
      for (const auto& event : body.at("events").as_array()) {
        seen.push_back(brief(event.as_object()));
        if (seen.back() == wanted) return seen;
      }
    }
    ADD_FAILURE() << "never seen: " << wanted;
    return seen;
  }
};

using Briefs = std::vector<std::string>;

TEST_F(GuestWatch, TellsWhatHappensInAFolder) {
  make("old", "x");
  fs::create_directory(folder_ + "/sub");
  auto watching = watch();
  std::ofstream(folder_ + "/old", std::ios::app) << "more";
  fs::permissions(folder_ + "/old", fs::perms(0600));
  fs::rename(folder_ + "/old", folder_ + "/new");
  fs::remove(folder_ + "/new");
  make("sub/unseen");
  Briefs expected{"WRITE old", "CHMOD old", "RENAME old", "CREATE new", "REMOVE new"};
  EXPECT_EQ(briefs_until(*watching, "last"), expected);
}

TEST_F(GuestWatch, CoversNewFoldersAtOnceAndTellsOfEachFileOnce) {
  auto watching = watch(R"(,"recursive":true)");
  std::multiset<std::string> expected;
  for (int i = 0; i < 200; ++i) {
    std::string top = "d" + std::to_string(i);
    fs::create_directories(folder_ + "/" + top + "/b/c");
    make(top + "/b/c/f", "content");
    for (const char* below : {"", "/b", "/b/c", "/b/c/f"}) expected.insert("CREATE " + top + below);
  }
  make("last");
  std::multiset<std::string> created;
  std::set<std::string> written;
  for (const auto& event : events_until(*watching, "last")) {
    std::string text = brief(event);
    if (text.starts_with("CREATE ")) created.insert(text);
    if (text.starts_with("WRITE ")) written.insert(text);
  }
  // What was made in the newest folders may be told behind the file that was made last.
  while (created.size() < expected.size()) {
    auto message = run(next(*watching));
    ASSERT_TRUE(message.contains("filesystem"));
    std::string text = brief(message["filesystem"].as_object());
    if (text.starts_with("CREATE ")) created.insert(text);
    if (text.starts_with("WRITE ")) written.insert(text);
  }
  EXPECT_EQ(created, expected);
  EXPECT_GE(written.size(), 199u);
  // And goes on watching them.
  std::ofstream(folder_ + "/d7/b/c/f", std::ios::app) << "more";
  auto later = briefs_until(*watching, "later");
  EXPECT_NE(std::find(later.begin(), later.end(), "WRITE d7/b/c/f"), later.end());
}

TEST_F(GuestWatch, FollowsFoldersThatAreMoved) {
  fs::create_directories(folder_ + "/a/deep");
  fs::create_directories(folder_ + "/b");
  std::string outside = folder_ + "-outside";
  fs::create_directories(outside + "/in");
  make("../" + outside.substr(outside.rfind('/') + 1) + "/in/was", "x");
  auto watching = watch(R"(,"recursive":true)");
  fs::rename(folder_ + "/a", folder_ + "/b/c");
  make("b/c/deep/file");
  EXPECT_EQ(briefs_until(*watching, "one"),
            (Briefs{"RENAME a", "CREATE b/c", "CREATE b/c/deep/file"}));
  fs::rename(folder_ + "/b/c", outside + "/c");
  EXPECT_EQ(briefs_until(*watching, "two"), (Briefs{"RENAME b/c"}));
  std::ofstream(outside + "/c/deep/other") << "unseen";
  fs::rename(outside + "/in", folder_ + "/in");
  EXPECT_EQ(briefs_until(*watching, "three"),
            (Briefs{"CREATE in", "CREATE in/was", "WRITE in/was"}));
  make("in/new");
  EXPECT_EQ(briefs_until(*watching, "four"), (Briefs{"CREATE in/new"}));
  fs::remove_all(outside);
}

TEST_F(GuestWatch, DoesNotFollowLinks) {
  std::string outside = folder_ + "-outside";
  fs::create_directories(outside);
  fs::create_directory_symlink(outside, folder_ + "/before");
  auto watching = watch(R"(,"recursive":true)");
  fs::create_directory_symlink(outside, folder_ + "/link");
  std::ofstream(outside + "/unseen") << "x";
  EXPECT_EQ(briefs_until(*watching, "last"), (Briefs{"CREATE link"}));
  fs::remove_all(outside);
}

TEST_F(GuestWatch, SendsEntriesWhereAskedFor) {
  auto watching = watch(R"(,"includeEntry":true)");
  make("file", "12345");
  fs::remove(folder_ + "/file");
  make("kept", "123");
  make("last");
  auto events = events_until(*watching, "last");
  ASSERT_GE(events.size(), 4u);
  bool found = false;
  for (const auto& event : events) {
    std::string text = brief(event);
    if (text == "REMOVE file") {
      EXPECT_FALSE(event.contains("entry"));
    }
    if (text != "WRITE kept") continue;
    found = true;
    const auto& entry = event.at("entry").as_object();
    EXPECT_EQ(entry.at("path").as_string(), folder_ + "/kept");
    EXPECT_EQ(entry.at("type").as_string(), "FILE_TYPE_FILE");
    EXPECT_EQ(entry.at("size").as_string(), "3");
    EXPECT_EQ(entry.at("owner").as_string(), "root");
  }
  EXPECT_TRUE(found);
}

TEST_F(GuestWatch, EndsWithItsFolder) {
  for (bool renamed : {false, true}) {
    std::string watched = folder_ + "/watched";
    fs::create_directory(watched);
    auto stream = run(begin(connect(), stream_request("filesystem.Filesystem/WatchDir",
                                                      R"({"path":")" + watched + "\"}")));
    run(next(*stream));
    if (renamed) {
      fs::rename(watched, folder_ + "/other");
    } else {
      fs::remove(watched);
    }
    EXPECT_TRUE(run(next(*stream)).empty());
    ASSERT_TRUE(stream->end);
    EXPECT_TRUE(*stream->end);
  }
}

TEST_F(GuestWatch, KeepsQuietStreamsAlive) {
  auto request = stream_request("filesystem.Filesystem/WatchDir", R"({"path":")" + folder_ + "\"}");
  request.fields.set("Keepalive-Ping-Interval", "1");
  auto watching = run(begin(connect(), std::move(request)));
  EXPECT_TRUE(run(next(*watching)).contains("start"));
  EXPECT_TRUE(run(next(*watching)).contains("keepalive"));
}

TEST_F(GuestWatch, IsRefusedWhereThereIsNothingToWatch) {
  make("file");
  auto missing = filesystem("CreateWatcher", R"({"path":")" + folder_ + "/missing\"}");
  EXPECT_EQ(missing.status, 404u);
  EXPECT_NE(missing.body.find("\"not_found\""), std::string::npos) << missing.body;
  EXPECT_EQ(filesystem("CreateWatcher", R"({"path":")" + folder_ + "/file\"}").status, 400u);
  EXPECT_EQ(filesystem("CreateWatcher", R"({"path":1})").status, 400u);
  EXPECT_EQ(filesystem("CreateWatcher", R"({"path":"/tmp\u0000x"})").status, 400u);
  auto stream = run(begin(connect(), stream_request("filesystem.Filesystem/WatchDir",
                                                    R"({"path":")" + folder_ + "/missing\"}")));
  EXPECT_TRUE(run(next(*stream)).empty());
  ASSERT_TRUE(stream->end && !*stream->end);
  EXPECT_EQ(stream->end->error().code(), ErrorCode::not_found);
  EXPECT_EQ(poll("w77").status, 404u);
  EXPECT_EQ(filesystem("RemoveWatcher", R"({"watcherId":"w77"})").status, 404u);
}

TEST_F(GuestWatch, CanBePolled) {
  auto id = create_watcher();
  EXPECT_EQ(poll(id).body, R"({"events":[]})");
  make("one");
  make("two");
  EXPECT_EQ(poll_until(id, "CREATE two"), (Briefs{"CREATE one", "CREATE two"}));
  EXPECT_EQ(poll(id).body, R"({"events":[]})");
  make("\xff");
  EXPECT_EQ(poll_until(id, "CREATE \xef\xbf\xbd").size(), 1u);
  auto other = create_watcher();
  EXPECT_NE(id, other);
  EXPECT_EQ(filesystem("RemoveWatcher", R"({"watcherId":")" + id + "\"}").body, "{}");
  EXPECT_EQ(poll(id).status, 404u);
  make("three");
  EXPECT_EQ(poll_until(other, "CREATE three").size(), 1u);
}

TEST_F(GuestWatch, SaysWhenEventsWereLost) {
  auto id = create_watcher();
  std::string path = folder_ + "/" + std::string(250, 'n');
  unsigned status = 200;
  std::string body;
  for (int i = 0; i < 100 && status == 200; ++i) {
    for (int j = 0; j < 1000; ++j) {
      std::ofstream(path).flush();
      ::unlink(path.c_str());
    }
    // Somebody who polls another watcher meanwhile: the daemon goes on serving.
    ASSERT_EQ(poll("w99").status, 404u);
    if (i % 10 != 9) continue;
    auto reply = poll(id);
    status = reply.status;
    body = reply.body;
    if (status == 200 && body.size() > (5u << 20)) FAIL() << "too much is kept";
  }
  EXPECT_EQ(status, 500u);
  EXPECT_NE(body.find("\"data_loss\""), std::string::npos) << body;
  EXPECT_NE(body.find("events were lost"), std::string::npos) << body;
  EXPECT_EQ(filesystem("RemoveWatcher", R"({"watcherId":")" + id + "\"}").body, "{}");
}

TEST_F(GuestWatch, AreOfLimitedNumber) {
  std::vector<std::string> ids;
  Reply refused;
  for (int i = 0; i < 300; ++i) {
    auto made = filesystem("CreateWatcher", R"({"path":")" + folder_ + "\"}");
    if (made.status != 200) {
      refused = made;
      break;
    }
    ids.emplace_back(json::parse(made.body).at("watcherId").as_string());
  }
  EXPECT_EQ(refused.status, 429u) << refused.body;
  for (const auto& id : ids)
    EXPECT_EQ(filesystem("RemoveWatcher", R"({"watcherId":")" + id + "\"}").status, 200u);
  // Their places are given back, if not in the same moment.
  unsigned status = 0;
  for (int i = 0; i < 100 && status != 200; ++i)
    status = filesystem("CreateWatcher", R"({"path":")" + folder_ + "\"}").status;
  EXPECT_EQ(status, 200u);
}

}  // namespace
}  // namespace hako::guest
