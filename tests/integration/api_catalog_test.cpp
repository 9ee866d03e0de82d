// Templates, as the API lists them and takes what they are built from.
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;

using ApiCatalogTest = ApiFixture;

TEST_F(ApiCatalogTest, TemplatesAndInfo) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto info = co_await lab.ask(Verb::get, "/v1/info");
    EXPECT_EQ(info.body.at("isolation"), "emulated");
    EXPECT_EQ(info.body.at("gateUrl"), "http://127.0.0.1:3002");
    EXPECT_FALSE(info.body.as_object().contains("gateHttpsUrl"));
    auto own = co_await lab.ask(Verb::get, "/v1/templates");
    EXPECT_EQ(own.body.at("templates").at(0).at("name"), "base");
    auto theirs = co_await lab.ask(Verb::get, "/templates");
    EXPECT_EQ(theirs.body.at(0).at("templateID"), "base");
    auto alias = co_await lab.ask(Verb::get, "/templates/aliases/base");
    EXPECT_EQ(alias.status, 200u);
    expect_refusal(co_await lab.ask(Verb::get, "/templates/aliases/none"), 404, "none");
    expect_refusal(co_await lab.ask(Verb::post, "/v1/templates", R"({"name":"py"})"), 409,
                   "this node builds nothing");
    auto removed = co_await lab.ask(Verb::delete_, "/v1/templates/py");
    EXPECT_EQ(removed.status, 204u);
  });
}

TEST_F(ApiCatalogTest, BuildsAreRegisteredAndFail) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v3/templates",
                                 R"({"name":"Team/App:v1","tags":["v1","next"],"cpuCount":1})");
    EXPECT_EQ(made.status, 202u);
    EXPECT_EQ(json::serialize(made.body.at("tags")), R"(["v1","next"])");
    EXPECT_EQ(made.body.at("names").at(0), "team/app");
    std::string id(made.body.at("templateID").as_string());
    std::string build(made.body.at("buildID").as_string());
    std::string status = "/templates/" + id + "/builds/" + build + "/status";
    auto waiting = co_await lab.ask(Verb::get, status);
    EXPECT_EQ(waiting.body.at("status"), "waiting");
    EXPECT_FALSE(waiting.body.as_object().contains("reason"));

    std::string start = "/v2/templates/" + id + "/builds/" + build;
    expect_refusal(co_await lab.ask(Verb::post, start, R"({"steps":[{"type":"NO"}]})"), 400,
                   "steps[0].type");
    auto begun = co_await lab.ask(Verb::post, start, R"({"fromTemplate":"base","steps":[]})");
    EXPECT_EQ(begun.status, 202u);
    EXPECT_EQ(begun.fields["Content-Length"], "0");
    Reply ended;
    for (int i = 0; i < 200; ++i) {
      ended = co_await lab.ask(Verb::get, status);
      if (ended.body.at("status") == "error") break;
      co_await sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(ended.body.at("reason").at("step"), "base");
    EXPECT_EQ(ended.body.at("reason").at("message"), "this node builds nothing");
    EXPECT_EQ(ended.body.at("logs").at(0), "[base] FROM base");
    auto rest = co_await lab.ask(Verb::get, status + "?logsOffset=100");
    EXPECT_TRUE(rest.body.at("logEntries").as_array().empty());
    expect_refusal(co_await lab.ask(Verb::post, start, "{}"), 409, "started already");

    expect_refusal(co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"team/app"})"),
                   404, "no build with the tag 'default'");
    expect_refusal(co_await lab.ask(Verb::get, "/templates/" + id + "/builds/none/status"), 404,
                   "build");
    expect_refusal(co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"base"})"), 409,
                   "installed image");
    expect_refusal(co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"a:"})"), 400, "tag");
    expect_refusal(co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"a","memoryMB":1})"),
                   400, "memoryMB");
  });
}

TEST_F(ApiCatalogTest, TemplatesAreListedTaggedAndRemoved) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"app"})");
    std::string id(made.body.at("templateID").as_string());
    auto first = co_await lab.ask(Verb::get, "/v2/templates?limit=1");
    EXPECT_EQ(first.body.at(0).at("templateID"), "base");
    EXPECT_EQ(first.fields["X-Next-Token"], "1");
    auto second = co_await lab.ask(Verb::get, "/v2/templates?limit=1&nextToken=1");
    EXPECT_EQ(second.body.at(0).at("templateID").as_string(), id);
    EXPECT_EQ(second.body.at(0).at("buildStatus"), "waiting");
    EXPECT_EQ(second.fields.count("X-Next-Token"), 0u);
    auto alias = co_await lab.ask(Verb::get, "/templates/aliases/app");
    EXPECT_EQ(alias.body.at("templateID").as_string(), id);
    auto changed = co_await lab.ask(Verb::patch, "/v2/templates/app", R"({"public":true})");
    EXPECT_EQ(json::serialize(changed.body), R"({"names":["app"]})");
    alias = co_await lab.ask(Verb::get, "/templates/aliases/app");
    EXPECT_EQ(alias.body.at("public"), true);

    expect_refusal(
        co_await lab.ask(Verb::post, "/templates/tags", R"({"target":"app:none","tags":["x"]})"),
        404, "none");
    expect_refusal(
        co_await lab.ask(Verb::post, "/templates/tags", R"({"target":"app","tags":[":x"]})"), 400,
        "tag");
    expect_refusal(
        co_await lab.ask(Verb::delete_, "/templates/tags", R"({"name":"app","tags":["default"]})"),
        400, "default");
    expect_refusal(
        co_await lab.ask(Verb::delete_, "/templates/tags", R"({"name":"nobody","tags":["x"]})"),
        404, "nobody");
    auto tags = co_await lab.ask(Verb::get, "/templates/app/tags");
    EXPECT_TRUE(tags.body.as_array().empty());
    auto removed = co_await lab.ask(Verb::delete_, "/templates/" + id);
    EXPECT_EQ(removed.status, 204u);
    expect_refusal(co_await lab.ask(Verb::delete_, "/templates/" + id), 404, "not found");
    expect_refusal(co_await lab.ask(Verb::delete_, "/templates/base"), 409, "installed image");
  });
}

TEST_F(ApiCatalogTest, UploadsNeedNoKeyButTheirOwnPath) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"app"})");
    std::string id(made.body.at("templateID").as_string());
    std::string files = "/templates/" + id + "/files/";
    expect_refusal(co_await lab.ask(Verb::get, files + "..%2Fx"), 400, "hex");
    std::string hash(64, 'a');
    auto link = co_await lab.ask(Verb::get, files + hash);
    EXPECT_EQ(link.status, 201u);
    EXPECT_EQ(link.body.at("present"), false);
    std::string url(link.body.at("url").as_string());
    std::string path = url.substr(url.find("/v1/"));
    expect_refusal(co_await lab.ask_with_key(Verb::put, "/v1/template-files/guess", "x", ""), 404,
                   "not expected");
    auto sent = co_await lab.ask_with_key(Verb::put, path, "content", "");
    EXPECT_EQ(sent.status, 200u);
    link = co_await lab.ask(Verb::get, files + hash);
    EXPECT_EQ(link.body.at("present"), true);
    // Another template's files are its own.
    auto other = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"other"})");
    std::string theirs(other.body.at("templateID").as_string());
    link = co_await lab.ask(Verb::get, "/templates/" + theirs + "/files/" + hash);
    EXPECT_EQ(link.body.at("present"), false);
  });
}

}  // namespace
}  // namespace hako::test
