// Who may build templates, for how long, and whose turn it is.
#include <algorithm>
#include <filesystem>

#include "api/template_builder.h"
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

class ApiBuildsTest : public ApiFixture {
  void release() override { lab_.node.hold_builds = false; }
};

Task<NewKey> new_tenant(ApiLab& lab, std::string body = R"({"name":"acme"})") {
  auto made = co_await lab.ask(Verb::post, "/v1/tenants", std::move(body));
  if (made.status != 201) throw std::runtime_error(made.message());
  co_return co_await make_key(lab, "acme", R"({"role":"owner"})");
}

struct Registered {
  std::string id, build;
  std::string start() const { return "/v2/templates/" + id + "/builds/" + build; }
  std::string status() const { return "/templates/" + id + "/builds/" + build + "/status"; }
};

Task<Registered> register_template(ApiLab& lab, std::string key, std::string body) {
  auto made = co_await lab.ask_with_key(Verb::post, "/v3/templates", std::move(body), key);
  if (made.status != 202) throw std::runtime_error(made.message());
  Registered registered;
  registered.id = std::string(made.body.at("templateID").as_string());
  registered.build = std::string(made.body.at("buildID").as_string());
  co_return registered;
}

/// Registers a build on the installed image, and sets it going. The status of that call.
Task<unsigned> begin_build(ApiLab& lab, std::string key, std::string name,
                           Registered* into = nullptr) {
  auto made = co_await register_template(lab, key, R"({"name":")" + name + R"("})");
  if (into) *into = made;
  auto begun =
      co_await lab.ask_with_key(Verb::post, made.start(), R"({"fromTemplate":"base"})", key);
  co_return begun.status;
}

/// Why the build failed; empty if it does not end.
Task<std::string> why_failed(ApiLab& lab, std::string tenant, Registered build) {
  for (int i = 0; i < 1000; ++i) {
    auto now = co_await lab.ask_in(tenant, Verb::get, build.status());
    if (now.status == 200 && now.body.at("status") == "error")
      co_return std::string(now.body.at("reason").at("message").as_string());
    co_await sleep_for(5ms);
  }
  co_return "";
}

Task<std::string> upload_path(ApiLab& lab, std::string key, std::string id, char digit = 'a') {
  std::string target = "/templates/" + id + "/files/" + std::string(64, digit);
  auto link = co_await lab.ask_with_key(Verb::get, target, "", std::move(key));
  if (link.status != 201) throw std::runtime_error(link.message());
  std::string url(link.body.at("url").as_string());
  co_return url.substr(url.find("/v1/"));
}

Task<unsigned> put_upload(ApiLab& lab, std::string path) {
  auto sent = co_await lab.ask_with_key(Verb::put, std::move(path), "content", "");
  co_return sent.status;
}

Task<bool> is_uploaded(ApiLab& lab, std::string id) {
  auto link = co_await lab.ask_in("acme", Verb::get,
                                  "/templates/" + id + "/files/" + std::string(64, 'a'));
  co_return link.body.at("present").as_bool();
}

/// Files that are not all there begin with a dot.
bool is_receiving(const ApiLab& lab) {
  auto folder = std::filesystem::path(lab.config.database()).parent_path() / "template-files";
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename().string().starts_with(".")) return true;
  return false;
}

Task<bool> begun(ApiLab& lab, size_t count) {
  std::function<bool()> holds = [&lab, count] { return lab.node.begun.size() >= count; };
  co_return co_await ApiLab::eventually(std::move(holds));
}

TEST_F(ApiBuildsTest, UploadsStopBeforeTheDiskIsFull) {
  for (bool full : {true, false}) {
    ApiLab lab;
    lab.config.min_free_disk_mib = full ? int64_t{1} << 40 : 0;
    auto body = [&lab, full]() -> Task<void> {
      co_await lab.start();
      auto owner = co_await new_tenant(lab);
      auto app = co_await register_template(lab, owner.key, R"({"name":"app"})");
      auto path = co_await upload_path(lab, owner.key, app.id);
      auto sent = co_await lab.ask_with_key(Verb::put, path, "content", "");
      EXPECT_EQ(sent.status, full ? 503u : 200u) << sent.message();
      EXPECT_EQ(sent.fields.count("Retry-After"), full ? 1u : 0u);
      EXPECT_EQ(co_await is_uploaded(lab, app.id), !full);
      co_await lab.stop();
    };
    run_on(lab.loop, body());
  }
}

TEST_F(ApiBuildsTest, AnUploadsPathGoesWithItsKey) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto owner = co_await new_tenant(lab);
    auto thief = co_await make_key(lab, "acme", R"({"role":"member"})");
    auto app = co_await register_template(lab, thief.key, R"({"name":"app"})");
    auto path = co_await upload_path(lab, thief.key, app.id);
    EXPECT_EQ((co_await lab.ask_in("acme", Verb::delete_, "/v1/keys/" + thief.id)).status, 204u);
    EXPECT_EQ(co_await put_upload(lab, path), 404u);
    EXPECT_FALSE(co_await is_uploaded(lab, app.id));
    // So it does with its tenant; and is good for one upload where nothing has gone.
    path = co_await upload_path(lab, owner.key, app.id);
    std::string suspend = R"({"suspended":true})", resume = R"({"suspended":false})";
    (void)co_await lab.ask(Verb::patch, "/v1/tenants/acme", suspend);
    EXPECT_EQ(co_await put_upload(lab, path), 404u);
    (void)co_await lab.ask(Verb::patch, "/v1/tenants/acme", resume);
    path = co_await upload_path(lab, owner.key, app.id);
    EXPECT_EQ(co_await put_upload(lab, path), 200u);
    EXPECT_TRUE(co_await is_uploaded(lab, app.id));
    EXPECT_EQ(co_await put_upload(lab, path), 404u) << "once";
  });
}

TEST_F(ApiBuildsTest, AnUploadUnderWayIsNotKeptForAKeyThatWent) {
  with_api([](ApiLab& lab) -> Task<void> {
    (void)co_await new_tenant(lab);
    auto thief = co_await make_key(lab, "acme", R"({"role":"member"})");
    auto app = co_await register_template(lab, thief.key, R"({"name":"app"})");
    auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
    CO_ASSERT_TRUE(stream);
    http::Client client(std::move(stream.value()));
    http::Request head;
    head.method = Verb::put;
    head.target = co_await upload_path(lab, thief.key, app.id);
    head.fields.set(http::Field::host, "127.0.0.1");
    CO_ASSERT_TRUE(co_await client.begin(std::move(head)));
    CO_ASSERT_TRUE(co_await client.write(asio::buffer("12345", 5)));
    std::function<bool()> under_way = [&lab] { return is_receiving(lab); };
    CO_ASSERT_TRUE(co_await ApiLab::eventually(std::move(under_way)));
    EXPECT_EQ((co_await lab.ask_in("acme", Verb::delete_, "/v1/keys/" + thief.id)).status, 204u);
    CO_ASSERT_TRUE(co_await client.finish());
    auto answer = co_await client.read_head();
    CO_ASSERT_TRUE(answer);
    EXPECT_EQ(answer.value().status, 404u);
    EXPECT_FALSE(co_await is_uploaded(lab, app.id));
  });
}

TEST_F(ApiBuildsTest, PathsThatWaitAreOneTenantsOwn) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto owner = co_await new_tenant(lab);
    auto theirs = co_await register_template(lab, owner.key, R"({"name":"app"})");
    auto ours = co_await register_template(lab, lab.key, R"({"name":"app"})");
    auto kept = co_await upload_path(lab, lab.key, ours.id);
    auto first = co_await upload_path(lab, owner.key, theirs.id);
    for (size_t i = 0; i < api::TemplateFiles::kMostGrantsOfOne; ++i)
      (void)co_await upload_path(lab, owner.key, theirs.id);
    EXPECT_EQ(co_await put_upload(lab, first), 404u) << "the oldest of the tenant's own goes";
    EXPECT_EQ(co_await put_upload(lab, kept), 200u);
  });
}

TEST_F(ApiBuildsTest, BuildsEndWithTheirKey) {
  with_api([](ApiLab& lab) -> Task<void> {
    (void)co_await new_tenant(lab);
    auto thief = co_await make_key(lab, "acme", R"({"role":"member"})");
    lab.node.hold_builds = true;
    std::vector<Registered> builds(api::TemplateBuilder::kBuildsAtOnceOfOne + 1);
    for (size_t i = 0; i < builds.size(); ++i) {
      auto status = co_await begin_build(lab, thief.key, "app" + std::to_string(i), &builds[i]);
      EXPECT_EQ(status, 202u);
    }
    EXPECT_TRUE(co_await begun(lab, api::TemplateBuilder::kBuildsAtOnceOfOne));
    EXPECT_EQ((co_await lab.ask_in("acme", Verb::delete_, "/v1/keys/" + thief.id)).status, 204u);
    // The node still says nothing: those that run and the one that waits end all the same.
    for (const Registered& build : builds) {
      std::string why = co_await why_failed(lab, "acme", build);
      EXPECT_EQ(why, "the key or token that started this build may build no longer");
    }
    EXPECT_EQ(count_calls(lab, "build.begin"), size_t(api::TemplateBuilder::kBuildsAtOnceOfOne));
    EXPECT_EQ(count_calls(lab, "build.abort"), size_t(api::TemplateBuilder::kBuildsAtOnceOfOne));
  });
}

TEST_F(ApiBuildsTest, NoTagIsGivenForAKeyThatWentMeanwhile) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto owner = co_await new_tenant(lab);
    auto app = co_await register_template(lab, owner.key, R"({"name":"app"})");
    auto opened = store::open_sqlite_store(lab.config.database());
    CO_ASSERT_TRUE(opened);
    store::AsyncStore store(std::move(opened).value());
    api::NodeLink nobody("/nowhere", {});
    api::TemplateCatalog catalog(lab.config, store, nobody);
    api::Principal who;
    who.tenant = "acme";
    who.key_id = owner.id;
    auto state = [&](store::TenantStore& tenants) -> Result<std::string> {
      HAKO_TRY(auto key, tenants.find_key_by_id(owner.id));
      HAKO_TRY(auto home, tenants.find_tenant("acme"));
      if (!key || !home) return std::string();
      api::Credential credential;
      credential.key = *key;
      credential.tenant = *home;
      HAKO_TRY(who, api::make_principal(credential, lab.config));
      return who.key_state;
    };
    CO_ASSERT_TRUE(co_await store.with_tenants(state));
    auto find = [&](store::TemplateStore& templates) { return templates.find_build(app.build); };
    auto found = co_await store.with_templates(find);
    CO_ASSERT_TRUE(found && found.value());
    store::BuildRecord build = *found.value();
    build.state = store::BuildState::ready;
    api::Principal gone = who;
    gone.key_state = "of another secret";
    auto refused = co_await catalog.finish_build(build, gone);
    EXPECT_FALSE(refused);
    auto tags = [&](store::TemplateStore& templates) { return templates.tags_of(app.id); };
    EXPECT_TRUE((co_await store.with_templates(tags)).value().empty());
    EXPECT_TRUE(co_await catalog.finish_build(build, who));
    EXPECT_EQ((co_await store.with_templates(tags)).value().size(), 1u);
  });
}

TEST_F(ApiBuildsTest, TenantsTakeTurns) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto greedy = co_await new_tenant(lab);
    lab.node.hold_builds = true;
    // Each of its builds holds a turn or waits; then it may have no more.
    for (size_t i = 0; i < api::TemplateBuilder::kMostBuildsOfOne; ++i) {
      auto status = co_await begin_build(lab, greedy.key, "app" + std::to_string(i));
      EXPECT_EQ(status, 202u);
    }
    EXPECT_EQ(co_await begin_build(lab, greedy.key, "more"), 429u);
    // Another's begins at once.
    EXPECT_EQ(co_await begin_build(lab, lab.key, "mine"), 202u);
    EXPECT_TRUE(co_await begun(lab, api::TemplateBuilder::kBuildsAtOnce));
    CO_ASSERT_TRUE(lab.node.begun.size() == size_t(api::TemplateBuilder::kBuildsAtOnce));
    EXPECT_EQ(lab.node.begun.back().at("tenant"), "default");
  });
}

TEST_F(ApiBuildsTest, AWholeBuildHasADeadline) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await lab.stop_api();
    lab.config.build_minutes = 0;
    CO_ASSERT_TRUE(co_await lab.start_api());
    CO_ASSERT_TRUE(co_await lab.eventually_status("/v1/templates", 200));
    lab.node.hold_builds = true;
    Registered build;
    EXPECT_EQ(co_await begin_build(lab, lab.key, "app", &build), 202u);
    EXPECT_EQ(co_await why_failed(lab, "default", build), "a build may take at most 0 minutes");
  });
}

TEST_F(ApiBuildsTest, ABuildIsOneBoxOfTheQuota) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto owner = co_await new_tenant(lab, R"({"name":"acme","quota":{"boxes":1}})");
    lab.node.hold_builds = true;
    Registered build;
    EXPECT_EQ(co_await begin_build(lab, owner.key, "app", &build), 202u);
    CO_ASSERT_TRUE(co_await begun(lab, 1));
    auto refused = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                             R"({"templateID":"base"})", owner.key);
    EXPECT_EQ(refused.status, 429u);
    EXPECT_NE(refused.message().find("quota.boxes"), std::string::npos) << refused.message();
    // What has ended counts no more; and a box leaves no room for a build.
    lab.node.hold_builds = false;
    EXPECT_EQ(co_await why_failed(lab, "acme", build), "this node builds nothing");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})",
                                          owner.key);
    EXPECT_EQ(made.status, 201u) << made.message();
    EXPECT_EQ(co_await begin_build(lab, owner.key, "app", &build), 202u);
    std::string why = co_await why_failed(lab, "acme", build);
    EXPECT_NE(why.find("quota.boxes"), std::string::npos) << why;
  });
}

TEST_F(ApiBuildsTest, ABuildIsNoLargerThanTheQuota) {
  with_api([](ApiLab& lab) -> Task<void> {
    // The installed image has 256 MiB.
    auto owner = co_await new_tenant(lab, R"({"name":"acme","quota":{"memoryMB":255}})");
    Registered build;
    EXPECT_EQ(co_await begin_build(lab, owner.key, "app", &build), 202u);
    std::string why = co_await why_failed(lab, "acme", build);
    EXPECT_NE(why.find("quota.memory"), std::string::npos) << why;
    EXPECT_TRUE(lab.node.begun.empty());
  });
}

TEST_F(ApiBuildsTest, AKeysSizesHoldForBuilds) {
  with_api([](ApiLab& lab) -> Task<void> {
    (void)co_await new_tenant(lab);
    auto small = co_await make_key(
        lab, "acme", R"({"role":"member","policy":{"memoryMB":200,"cpuCount":1}})");
    const char* bodies[] = {R"({"name":"app","memoryMB":201})", R"({"name":"app","cpuCount":2})"};
    for (const char* body : bodies) {
      auto refused = co_await lab.ask_with_key(Verb::post, "/v3/templates", body, small.key);
      EXPECT_EQ(refused.status, 403u) << body << refused.message();
    }
    // What it begins on has more, and it does not say less.
    Registered build;
    EXPECT_EQ(co_await begin_build(lab, small.key, "app", &build), 202u);
    std::string why = co_await why_failed(lab, "acme", build);
    EXPECT_NE(why.find(".memory"), std::string::npos) << why;
    auto fits = co_await register_template(lab, small.key, R"({"name":"app","memoryMB":200})");
    (void)co_await lab.ask_with_key(Verb::post, fits.start(), R"({"fromTemplate":"base"})",
                                    small.key);
    EXPECT_EQ(co_await why_failed(lab, "acme", fits), "this node builds nothing");
  });
}

TEST_F(ApiBuildsTest, AListOfTemplatesHoldsForWhatIsBuiltOn) {
  with_api([](ApiLab& lab) -> Task<void> {
    (void)co_await new_tenant(lab);
    auto narrow = co_await make_key(
        lab, "acme", R"({"role":"member","policy":{"templates":["app"]}})");
    Registered build;
    EXPECT_EQ(co_await begin_build(lab, narrow.key, "app", &build), 202u);
    std::string why = co_await why_failed(lab, "acme", build);
    EXPECT_NE(why.find(".templates"), std::string::npos) << why;
    EXPECT_TRUE(lab.node.begun.empty());
  });
}

TEST_F(ApiBuildsTest, OnlyTheTenantItselfPublishesAndOnlyWhatIsPublic) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto owner = co_await new_tenant(lab);
    auto agent = co_await make_key(
        lab, "acme", R"({"role":"member","policy":{"agent":"build"}})");
    (void)co_await register_template(lab, agent.key, R"({"name":"app"})");
    std::string publish = R"({"public":true})", hide = R"({"public":false})";
    auto by_agent =
        co_await lab.ask_with_key(Verb::patch, "/v2/templates/app", publish, agent.key);
    EXPECT_EQ(by_agent.status, 403u);
    EXPECT_NE(by_agent.message().find("template.public"), std::string::npos) << by_agent.message();
    auto hidden = co_await lab.ask_with_key(Verb::patch, "/v2/templates/app", hide, agent.key);
    EXPECT_EQ(hidden.status, 200u) << hidden.message();
    auto by_owner = co_await lab.ask_in("acme", Verb::patch, "/v2/templates/app", publish);
    EXPECT_EQ(by_owner.status, 200u) << by_owner.message();
    EXPECT_EQ((co_await lab.ask(Verb::get, "/templates/aliases/acme%2Fapp")).status, 200u);
    // A label that rises takes it back, and it cannot be given out again.
    std::string label = R"({"label":"internal"})";
    EXPECT_EQ((co_await lab.ask_in("acme", Verb::patch, "/v2/templates/app", label)).status, 200u);
    EXPECT_EQ((co_await lab.ask(Verb::get, "/templates/aliases/acme%2Fapp")).status, 404u);
    auto again = co_await lab.ask_in("acme", Verb::patch, "/v2/templates/app", publish);
    EXPECT_EQ(again.status, 409u) << again.message();
    (void)owner;
  });
}

}  // namespace
}  // namespace hako::test
