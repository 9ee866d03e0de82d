// Files through the real daemon.
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <boost/json/parse.hpp>

#include <filesystem>
#include <fstream>

#include "base/encoding.h"
#include "integration/guest_daemon.h"
#include "wire/signature.h"

namespace hako::guest {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;
constexpr std::pair<const char*, const char*> kPlain{"Content-Type", "application/octet-stream"};

class GuestFiles : public GuestDaemonTest {
 protected:
  std::string content(const std::string& name) {
    std::ifstream file(folder_ + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void make(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }
  std::string files(const std::string& name) {
    return "/files?path=" + percent_encode(folder_ + "/" + name);
  }
  Reply filesystem(const std::string& method, const std::string& body) {
    return unary("filesystem.Filesystem/" + method, body);
  }
  std::string path_body(const std::string& name, const std::string& more = "") {
    return R"({"path":")" + folder_ + "/" + name + "\"" + more + "}";
  }
};

TEST_F(GuestFiles, AreStreamedBothWaysWhole) {
  constexpr size_t kBytes = 50 << 20;
  std::string bytes(kBytes, '\0');
  for (size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<char>((i * 2654435761u) >> 13);
  auto stored = request(http::Verb::post, files("deep/er/big"), bytes, {kPlain});
  ASSERT_EQ(stored.status, 200u) << stored.body;
  auto list = json::parse(stored.body).as_array();
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].at("path").as_string(), folder_ + "/deep/er/big");
  EXPECT_EQ(list[0].at("name").as_string(), "big");
  EXPECT_EQ(list[0].at("type").as_string(), "file");
  EXPECT_TRUE(content("deep/er/big") == bytes);
  auto read = request(http::Verb::get, files("deep/er/big"));
  EXPECT_EQ(read.status, 200u);
  EXPECT_EQ(read.fields[http::Field::content_length], std::to_string(kBytes));
  EXPECT_EQ(read.fields[http::Field::content_disposition], "inline");
  EXPECT_TRUE(read.body == bytes);
}

TEST_F(GuestFiles, BelongToTheUserWithTheirNewParents) {
  fs::permissions(folder_, fs::perms(0777));
  auto stored =
      request(http::Verb::post, files("new/sub/file") + "&username=nobody", "x", {kPlain});
  ASSERT_EQ(stored.status, 200u) << stored.body;
  for (const char* name : {"/new", "/new/sub", "/new/sub/file"}) {
    struct stat info {};
    ASSERT_EQ(::stat((folder_ + name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_uid, 65534u) << name;
  }
  auto stranger = request(http::Verb::post, files("other") + "&username=stranger", "x", {kPlain});
  EXPECT_EQ(stranger.status, 401u);
}

TEST_F(GuestFiles, AreOverwrittenAndMayBeEmpty) {
  make("file", "something longer");
  EXPECT_EQ(request(http::Verb::post, files("file"), "new", {kPlain}).status, 200u);
  EXPECT_EQ(content("file"), "new");
  EXPECT_EQ(request(http::Verb::post, files("file"), "", {kPlain}).status, 200u);
  EXPECT_EQ(content("file"), "");
  auto read = request(http::Verb::get, files("file"));
  EXPECT_EQ(read.status, 200u);
  EXPECT_EQ(read.fields[http::Field::content_length], "0");
}

TEST_F(GuestFiles, AreReadInPartsOnRequest) {
  make("file", "0123456789");
  auto range = [&](const char* value) {
    return request(http::Verb::get, files("file"), {}, {{"Range", value}});
  };
  auto middle = range("bytes=2-4");
  EXPECT_EQ(middle.status, 206u);
  EXPECT_EQ(middle.body, "234");
  EXPECT_EQ(middle.fields[http::Field::content_range], "bytes 2-4/10");
  EXPECT_EQ(range("bytes=7-").body, "789");
  EXPECT_EQ(range("bytes=-3").body, "789");
  EXPECT_EQ(range("bytes=8-99").body, "89");
  EXPECT_EQ(range("bytes=10-").status, 416u);
  EXPECT_EQ(range("bytes=5-2").status, 200u);
  EXPECT_EQ(range("bytes=0-0,5-6").body, "0123456789");
  EXPECT_EQ(range("bytes=99999999999999999999-").status, 200u);
}

TEST_F(GuestFiles, ThatAreNoneAreErrors) {
  EXPECT_EQ(request(http::Verb::get, files("missing")).status, 404u);
  EXPECT_EQ(request(http::Verb::get, files("")).status, 400u);
  EXPECT_EQ(request(http::Verb::get, "/files?path=~other/x").status, 400u);
  EXPECT_EQ(request(http::Verb::get, files("missing") + "&username=stranger").status, 401u);
  EXPECT_EQ(request(http::Verb::post, files(""), "x", {kPlain}).status, 400u);
  EXPECT_EQ(request(http::Verb::post, "/files", "x", {kPlain}).status, 400u);
  make("file", "x");
  EXPECT_EQ(request(http::Verb::post, files("file/below"), "x", {kPlain}).status, 400u);
  EXPECT_EQ(
      request(http::Verb::post, files("zipped"), "x", {kPlain, {"Content-Encoding", "br"}}).status,
      415u);
  EXPECT_EQ(
      request(http::Verb::get, files("file"), {}, {{"Accept-Encoding", "br;q=1, *;q=0"}}).status,
      406u);
  ASSERT_EQ(::mkfifo((folder_ + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(request(http::Verb::get, files("pipe")).status, 400u);
  EXPECT_EQ(request(http::Verb::post, files("pipe"), "x", {kPlain}).status, 400u);
  EXPECT_FALSE(fs::exists(folder_ + "/zipped"));
}

TEST_F(GuestFiles, ArriveAsForms) {
  std::string body;
  for (const char* name : {"one", "sub/\xc3\xa9t\xc3\xa9"})
    body += "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + folder_ + "/" +
            name + "\"\r\nContent-Type: text/plain\r\n\r\ncontent of " + name + "\r\n";
  body += "--B--\r\n";
  const std::pair<std::string, std::string> form{"Content-Type", "multipart/form-data; boundary=B"};
  auto stored = request(http::Verb::post, "/files", body, {form});
  ASSERT_EQ(stored.status, 200u) << stored.body;
  EXPECT_EQ(json::parse(stored.body).as_array().size(), 2u);
  EXPECT_EQ(content("one"), "content of one");
  EXPECT_EQ(content("sub/\xc3\xa9t\xc3\xa9"), "content of sub/\xc3\xa9t\xc3\xa9");

  std::string single =
      "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\ny\r\n--B--\r\n";
  EXPECT_EQ(request(http::Verb::post, files("named"), single, {form}).status, 200u);
  EXPECT_EQ(content("named"), "y");
  // Twice the same file, a body cut short, and one without files.
  EXPECT_EQ(request(http::Verb::post, files("named"), single.substr(0, single.size() - 7) + single,
                    {form})
                .status,
            400u);
  std::string cut = body.substr(0, body.size() - 20);
  EXPECT_EQ(request(http::Verb::post, "/files", cut, {form}).status, 400u);
  EXPECT_FALSE(fs::exists(folder_ + "/sub/\xc3\xa9t\xc3\xa9")) << "half a file was left";
  EXPECT_EQ(request(http::Verb::post, "/files", "--B--\r\n", {form}).status, 400u);
}

TEST_F(GuestFiles, CarryMetadata) {
  auto stored = request(http::Verb::post, files("file"), "x",
                        {kPlain, {"X-Metadata-Purpose", "test"}, {"X-Metadata-B", "2"}});
  ASSERT_EQ(stored.status, 200u) << stored.body;
  auto stat = json::parse(filesystem("Stat", path_body("file")).body).at("entry");
  EXPECT_EQ(stat.at("metadata").at("purpose").as_string(), "test");
  EXPECT_EQ(request(http::Verb::post, files("file"), "x", {kPlain}).status, 200u);
  stat = json::parse(filesystem("Stat", path_body("file")).body).at("entry");
  EXPECT_EQ(stat.as_object().if_contains("metadata"), nullptr);
  EXPECT_EQ(request(http::Verb::post, files("file"), "x",
                    {kPlain, {"X-Metadata-Long", std::string(5000, 'x')}})
                .status,
            400u);
}

TEST_F(GuestFiles, LeaveNothingBehindOnAFullDisk) {
  std::string small = folder_ + "/small";
  fs::create_directory(small);
  ASSERT_EQ(::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=2m"), 0);
  std::string large(8 << 20, 'x');
  auto announced = request(http::Verb::post, files("small/announced"), large, {kPlain});
  EXPECT_EQ(announced.status, 507u) << announced.body;
  // Without a length beforehand the disk itself has to say so.
  auto send = [](http::Client& client, http::Request head, std::string piece) -> Task<unsigned> {
    auto begun = co_await client.begin(std::move(head));
    for (int i = 0; begun && i < 8; ++i) begun = co_await client.write(asio::buffer(piece));
    if (begun) begun = co_await client.finish();
    auto answer = co_await client.read_head();
    co_return answer ? answer.value().status : 0;
  };
  http::Request head;
  head.method = http::Verb::post;
  head.target = files("small/unannounced");
  head.fields.set(http::Field::host, "127.0.0.1");
  head.fields.set(http::Field::content_type, "application/octet-stream");
  auto client = run(connect());
  unsigned status = run(send(client, head, large.substr(0, 1 << 20)));
  EXPECT_EQ(status, 507u);
  EXPECT_TRUE(fs::is_empty(small));
  EXPECT_EQ(request(http::Verb::post, files("small/fits"), "x", {kPlain}).status, 200u);
  EXPECT_EQ(::umount(small.c_str()), 0);
}

TEST_F(GuestFiles, AreGoneWhenTheirUploadIsCutShort) {
  auto send = [](http::Client client, http::Request head) -> Task<bool> {
    std::string piece(1 << 20, 'x');
    auto begun = co_await client.begin(std::move(head));
    if (begun) begun = co_await client.write(asio::buffer(piece));
    co_return begun.has_value();
  };
  http::Request head;
  head.method = http::Verb::post;
  head.target = files("cut");
  head.fields.set(http::Field::host, "127.0.0.1");
  head.fields.set(http::Field::content_type, "application/octet-stream");
  auto client = run(connect());
  EXPECT_TRUE(run(send(std::move(client), head)));
  auto gone = unary("process.Process/List", "{}");
  for (int i = 0; i < 1000 && fs::exists(folder_ + "/cut"); ++i)
    unary("process.Process/List", "{}");
  EXPECT_FALSE(fs::exists(folder_ + "/cut"));
}

TEST_F(GuestFiles, NeedTheTokenOrASignature) {
  make("file", "content");
  ASSERT_EQ(init({{"generation", 2}, {"defaultUser", "root"}, {"accessToken", "secret"}}).status,
            204u);
  std::string path = folder_ + "/file";
  EXPECT_EQ(request(http::Verb::get, files("file")).status, 401u);
  EXPECT_EQ(request(http::Verb::get, files("file"), {}, {{"X-Access-Token", "secret"}}).status,
            200u);
  wire::FileGrant grant{path, "read", "root", {}};
  std::string signature =
      "&username=root&signature=" + percent_encode(wire::sign_files(grant, "secret"));
  EXPECT_EQ(request(http::Verb::get, files("file") + signature).body, "content");
  EXPECT_EQ(request(http::Verb::post, files("file") + signature, "x", {kPlain}).status, 401u);
  EXPECT_EQ(request(http::Verb::get, files("other") + signature).status, 401u);
  EXPECT_EQ(
      request(http::Verb::get, files("file") + signature, {}, {{"X-Access-Token", "wrong"}}).status,
      401u);
  grant.expires = 1000;
  auto late = request(http::Verb::get,
                      files("file") + "&username=root&signature_expiration=1000" +
                          "&signature=" + percent_encode(wire::sign_files(grant, "secret")));
  EXPECT_EQ(late.status, 401u);
  EXPECT_NE(late.body.find("signature is already expired"), std::string::npos);
  EXPECT_EQ(content("file"), "content");
}

TEST_F(GuestFiles, AreListedAndDescribed) {
  fs::create_directories(folder_ + "/d/inner");
  make("d/b", "12345");
  make("d/inner/c", "");
  fs::create_symlink("b", folder_ + "/d/a");
  fs::create_symlink("nowhere", folder_ + "/d/z");
  fs::create_symlink(".", folder_ + "/d/loop");
  auto names = [&](const std::string& more) {
    std::string all;
    auto listed = json::parse(filesystem("ListDir", path_body("d", more)).body);
    for (auto& entry : listed.at("entries").as_array())
      all +=
          std::string(std::string_view(entry.at("path").as_string()).substr(folder_.size())) + " ";
    return all;
  };
  EXPECT_EQ(names(""), "/d/a /d/b /d/inner /d/loop /d/z ");
  EXPECT_EQ(names(R"(,"depth":3)"), "/d/a /d/b /d/inner /d/inner/c /d/loop /d/z ");
  auto entry = [&](const std::string& name) {
    return json::parse(filesystem("Stat", path_body(name)).body).at("entry").as_object();
  };
  auto link = entry("d/a");
  EXPECT_EQ(link["type"], "FILE_TYPE_FILE");
  EXPECT_EQ(link["symlinkTarget"].as_string(), folder_ + "/d/b");
  EXPECT_TRUE(std::string_view(link["permissions"].as_string()).starts_with("L"));
  EXPECT_EQ(entry("d/z")["type"], "FILE_TYPE_UNSPECIFIED");
  EXPECT_EQ(entry("d/b")["size"], "5");
  EXPECT_EQ(entry("d/b")["owner"], "root");
  EXPECT_EQ(entry("d")["permissions"], "drwxr-xr-x");
  EXPECT_EQ(filesystem("Stat", path_body("no")).status, 404u);
  EXPECT_EQ(filesystem("ListDir", path_body("no")).status, 404u);
  EXPECT_EQ(filesystem("ListDir", path_body("d/b")).status, 400u);
  fs::create_symlink("self", folder_ + "/self");
  auto loop = filesystem("ListDir", path_body("self"));
  EXPECT_NE(loop.body.find("failed_precondition"), std::string::npos) << loop.body;
}

TEST_F(GuestFiles, AreMadeMovedAndRemoved) {
  auto made = filesystem("MakeDir", path_body("x/y"));
  EXPECT_EQ(made.status, 200u) << made.body;
  EXPECT_TRUE(fs::is_directory(folder_ + "/x/y"));
  auto again = filesystem("MakeDir", path_body("x/y"));
  EXPECT_EQ(again.status, 409u);
  EXPECT_NE(again.body.find("already_exists"), std::string::npos);
  make("x/file", "1");
  EXPECT_EQ(filesystem("MakeDir", path_body("x/file")).status, 400u);
  auto move = [&](const std::string& from, const std::string& to) {
    return filesystem(
        "Move", R"({"source":")" + folder_ + from + R"(","destination":")" + folder_ + to + "\"}");
  };
  auto moved = move("/x/file", "/other/place");
  EXPECT_EQ(moved.status, 200u) << moved.body;
  EXPECT_EQ(json::parse(moved.body).at("entry").at("name").as_string(), "place");
  EXPECT_EQ(content("other/place"), "1");
  EXPECT_EQ(move("/x/file", "/y").status, 404u);
  EXPECT_EQ(filesystem("Remove", path_body("x")).body, "{}");
  EXPECT_FALSE(fs::exists(folder_ + "/x"));
  EXPECT_EQ(filesystem("Remove", path_body("x")).status, 200u);
  EXPECT_EQ(filesystem("Remove", R"({"path":"/"})").status, 400u);
  // Removing a link leaves what it leads to.
  fs::create_directory_symlink(folder_ + "/other", folder_ + "/link");
  EXPECT_EQ(filesystem("Remove", path_body("link")).status, 200u);
  EXPECT_EQ(content("other/place"), "1");
}

TEST_F(GuestFiles, RefuseWrongTypes) {
  EXPECT_EQ(filesystem("Stat", R"({"path":1})").status, 400u);
  EXPECT_EQ(filesystem("ListDir", R"({"path":"/","depth":"deep"})").status, 400u);
  EXPECT_EQ(filesystem("Stat", "{").status, 400u);
}

}  // namespace
}  // namespace hako::guest
