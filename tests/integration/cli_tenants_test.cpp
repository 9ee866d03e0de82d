// The commands about tenants, keys and tokens: the program itself against the real API.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

#include "api/keys.h"
#include "base/fd.h"
#include "store/store.h"
#include "support/api_lab.h"
#include "support/run_task.h"

namespace hako::test {
namespace {

struct Outcome {
  int status = -1;
  std::string out, err;
  /// Standard output without its line end.
  std::string word() const { return out.substr(0, out.find('\n')); }
};

class CliTenantsTest : public ::testing::Test {
 protected:
  CliTenantsTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "hako-cli-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    std::ofstream(folder_ + "/hako.toml");
  }
  ~CliTenantsTest() override { std::filesystem::remove_all(folder_); }

  void with_api(Task<void> (*body)(CliTenantsTest&)) { run_on(lab_.loop, started(body)); }

 public:
  /// Runs "hako <arguments>" in a shell, with the operator's key or another.
  Task<Outcome> hako(std::string arguments, std::string key = {}) {
    if (key.empty()) key = lab_.key;
    std::string command = "cd " + folder_ + " && HAKO_CONFIG=" + folder_ +
                          "/hako.toml HAKO_API_URL=http://127.0.0.1:" + std::to_string(lab_.port) +
                          " HAKO_API_KEY=" + key + " " HAKO_PROGRAM " " + arguments +
                          " >out 2>err </dev/null";
    if (arguments.find('|') != arguments.npos) throw std::logic_error("no pipes");
    auto work = [command] { return std::system(command.c_str()); };
    int status = co_await run_blocking(threads_, work);
    Outcome outcome;
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome.out = read_file(folder_ + "/out", 1 << 20).value();
    outcome.err = read_file(folder_ + "/err", 1 << 20).value();
    co_return outcome;
  }

  ApiLab lab_;

 private:
  Task<void> started(Task<void> (*body)(CliTenantsTest&)) {
    co_await lab_.start();
    std::exception_ptr fault;
    try {
      co_await body(*this);
    } catch (...) {
      fault = std::current_exception();
    }
    co_await lab_.stop();
    if (fault) std::rethrow_exception(fault);
  }

  std::string folder_;
  asio::thread_pool threads_{1};
};

void expect_part(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), text.npos) << "no '" << part << "' in:\n" << text;
}

TEST_F(CliTenantsTest, TenantsAreMadeChangedAndRemoved) {
  with_api([](CliTenantsTest& cli) -> Task<void> {
    auto made = co_await cli.hako(
        "tenant create acme --label internal --egress none --ttl 1h --quota-boxes 3 "
        "--quota-egress 1000000");
    EXPECT_EQ(made.status, 0) << made.err;
    for (const char* part : {"tenant  acme", "state   active", "policy  label <= internal",
                             "policy  egress = none", "policy  ttl <= 3600"}) {
      expect_part(made.out, part);
    }
    expect_part(made.out, "boxes                  -       3");
    expect_part((co_await cli.hako("tenant create acme")).err, "there already");

    auto set = co_await cli.hako(
        "tenant set acme --quota-cpu 8 --ttl 2h --unset quota.boxes --unset policy.label");
    EXPECT_EQ(set.status, 0) << set.err;
    auto shown = co_await cli.hako("tenant show acme");
    EXPECT_EQ(shown.out.find("label <="), shown.out.npos) << shown.out;
    expect_part(shown.out, "policy  egress = none");
    expect_part(shown.out, "policy  ttl <= 7200");
    expect_part(shown.out, "boxes                  0       -");
    expect_part(shown.out, "vcpus                  0       8");
    auto wrong = co_await cli.hako("tenant set acme --unset quota.boxes");
    EXPECT_EQ(wrong.status, 1);
    expect_part(wrong.err, "'quota.boxes' is not set");

    EXPECT_EQ((co_await cli.hako("tenant suspend acme")).status, 0);
    expect_part((co_await cli.hako("tenant ls")).out, "acme     suspended");
    EXPECT_EQ((co_await cli.hako("tenant resume acme")).status, 0);
    expect_part((co_await cli.hako("tenant ls")).out, "acme     active");
    auto list = json::parse((co_await cli.hako("tenant ls --json")).out);
    EXPECT_EQ(list.as_array().size(), 2u);

    EXPECT_EQ((co_await cli.hako("tenant rm acme")).out, "acme\n");
    auto gone = co_await cli.hako("tenant rm acme default");
    EXPECT_EQ(gone.status, 1);
    expect_part(gone.err, "tenant acme not found");
    expect_part(gone.err, "always there");
  });
}

TEST_F(CliTenantsTest, AKeyIsAllThatGoesToStandardOutput) {
  with_api([](CliTenantsTest& cli) -> Task<void> {
    (void)co_await cli.hako("tenant create acme");
    auto owner = co_await cli.hako("key create --tenant acme --role owner --user ann");
    EXPECT_EQ(owner.status, 0) << owner.err;
    EXPECT_TRUE(api::is_api_key(owner.word())) << owner.out;
    EXPECT_EQ(owner.out, owner.word() + "\n");
    expect_part(owner.err, "shown this once");

    // The owner makes one for an agent.
    auto agent = co_await cli.hako(
        "key create --name 'the builder' --agent build --actions sandbox.create,sandbox.read "
        "--expires 8h --json",
        owner.word());
    EXPECT_EQ(agent.status, 0) << agent.err;
    auto made = json::parse(agent.out);
    EXPECT_EQ(made.at("policy").at("agent"), "build");
    std::string key(made.at("key").as_string());
    std::string id(made.at("keyID").as_string());
    EXPECT_EQ((co_await cli.hako("ps", key)).status, 0);
    EXPECT_EQ((co_await cli.hako("key ls", key)).status, 1);

    auto list = co_await cli.hako("key ls", owner.word());
    expect_part(list.out, "the builder");
    expect_part(list.out, "agent = build");
    EXPECT_EQ(list.out.find("e2b_"), list.out.npos);
    auto shown = co_await cli.hako("key show " + id, owner.word());
    expect_part(shown.out, "role            member");
    expect_part(shown.out, "policy          actions = sandbox.create,sandbox.read");
    EXPECT_EQ(shown.out.find("e2b_"), shown.out.npos);

    // What is not named stays.
    auto changed = co_await cli.hako("key set " + id + " --name 'a viewer' --role viewer",
                                     owner.word());
    EXPECT_EQ(changed.status, 0) << changed.err;
    expect_part(changed.out, "role            viewer");
    expect_part(changed.out, "name            a viewer");
    expect_part(changed.out, "policy          actions = sandbox.create,sandbox.read");
    changed = co_await cli.hako(
        "key set " + id + " --unset policy.actions --boxes 3 --role member --json", owner.word());
    EXPECT_EQ(changed.status, 0) << changed.err;
    auto policy = json::parse(changed.out).at("policy").as_object();
    EXPECT_FALSE(policy.contains("actions"));
    EXPECT_EQ(policy.at("agent"), "build");
    EXPECT_EQ(policy.at("boxes"), 3);
    changed = co_await cli.hako("key set " + id + " --unset quota.boxes", owner.word());
    EXPECT_EQ(changed.status, 1);
    expect_part(changed.err, "hako key show");
    EXPECT_EQ((co_await cli.hako("key set nothing --name x", owner.word())).status, 1);

    auto rotated = co_await cli.hako("key rotate " + id + " --grace 1h", owner.word());
    EXPECT_TRUE(api::is_api_key(rotated.word())) << rotated.err;
    EXPECT_EQ((co_await cli.hako("ps", key)).status, 0);
    rotated = co_await cli.hako("key rotate " + id, owner.word());
    EXPECT_EQ((co_await cli.hako("ps", key)).status, 1);
    EXPECT_EQ((co_await cli.hako("ps", rotated.word())).status, 0);

    EXPECT_EQ((co_await cli.hako("key rm " + id, owner.word())).out, id + "\n");
    EXPECT_EQ((co_await cli.hako("ps", rotated.word())).status, 1);
    auto again = co_await cli.hako("key rm " + id, owner.word());
    EXPECT_EQ(again.status, 1);
    expect_part(again.err, "hako key ls");
  });
}

TEST_F(CliTenantsTest, TokensAreMintedNarrowedAndRevoked) {
  with_api([](CliTenantsTest& cli) -> Task<void> {
    auto minted = co_await cli.hako("token mint --agent build --expires 1h");
    EXPECT_EQ(minted.status, 0) << minted.err;
    EXPECT_EQ(minted.out, minted.word() + "\n");
    auto narrowed = co_await cli.hako("token narrow --actions sandbox.read", minted.word());
    EXPECT_EQ(narrowed.status, 0) << narrowed.err;
    EXPECT_EQ((co_await cli.hako("ps", narrowed.word())).status, 0);
    auto create = co_await cli.hako("create", narrowed.word());
    EXPECT_EQ(create.status, 1);
    // The first says the tenant: it is of the operator's key.
    expect_part(create.err, "token caveat 4.actions");

    auto other = co_await cli.hako("token mint --json");
    auto answer = json::parse(other.out);
    std::string token(answer.at("token").as_string());
    std::string id(answer.at("tokenID").as_string());
    EXPECT_EQ((co_await cli.hako("token revoke " + id)).status, 0);
    EXPECT_EQ((co_await cli.hako("ps", token)).status, 1);
    EXPECT_EQ((co_await cli.hako("token revoke " + minted.word())).status, 0);
    EXPECT_EQ((co_await cli.hako("ps", minted.word())).status, 1);
    EXPECT_EQ((co_await cli.hako("ps", narrowed.word())).status, 1);
    auto stray = co_await cli.hako("token revoke operator.nothing");
    EXPECT_EQ(stray.status, 1);
    expect_part(stray.err, "token not found");
  });
}

TEST_F(CliTenantsTest, ModelsAreCountedStoppedAndStarted) {
  with_api([](CliTenantsTest& cli) -> Task<void> {
    auto made = co_await cli.hako(
        "tenant create acme --model 'claude-*' --model-usd 2.5 --quota-model-usd 1 "
        "--quota-model-tokens 1000 --quota-model-requests 7");
    EXPECT_EQ(made.status, 0) << made.err;
    for (const char* part : {"policy  model = claude-*", "policy  model_microusd <= 2500000",
                             "modelMicroUSDPerMonth  -       1000000", "modelRequestsPerMonth  -       7"}) {
      expect_part(made.out, part);
    }
    EXPECT_EQ((co_await cli.hako("tenant create b --model-usd 1.2345678")).status, 2);
    EXPECT_EQ((co_await cli.hako("tenant create b --quota-model-usd x")).status, 2);

    auto box = co_await cli.hako(
        "create --tenant acme --model m --model claude-x --model-requests 3 --model-usd 0.5");
    EXPECT_EQ(box.status, 0) << box.err;
    auto opened = store::open_sqlite_store(cli.lab_.config.database());
    CO_ASSERT_TRUE(opened);
    auto record = opened.value()->find_sandbox(box.word());
    CO_ASSERT_TRUE(record && record.value());
    expect_part(record.value()->options, R"("models":["claude-x","m"],"modelRequests":3,)"
                                         R"("modelMicroUSD":500000)");
    store::ModelStore& models = opened.value()->models();
    CO_ASSERT_TRUE(models.reserve(box.word(), [&](const auto&, const auto&) {
      store::ModelReservation call;
      call.id = "r", call.box = box.word(), call.tenant = "acme", call.model = "claude-x";
      return Result<store::ModelReservation>(call);
    }));
    CO_ASSERT_TRUE(models.settle("r", 1'795'651'200'000, [](const auto&) {
      store::ModelSettlement settlement{.outcome = "ok", .requests = 1};
      settlement.told = {.input = 12, .output = 34};
      settlement.told_microusd = 1'250'000;
      return Result<store::ModelSettlement>(settlement);
    }));
    auto usage = co_await cli.hako("usage --tenant acme");
    EXPECT_EQ(usage.status, 0) << usage.err;
    for (const char* part : {"MODEL", "claude-x", "12", "34", "$1.250000"}) {
      expect_part(usage.out, part);
    }
    expect_part((co_await cli.hako("usage --by tenant --all-tenants")).out, "acme");
    expect_part((co_await cli.hako("usage --tenant acme --by day --from 2026-11-01")).out,
                "2026-11-26");
    auto empty = co_await cli.hako("usage --json --tenant acme --to 2026-11-25");
    EXPECT_EQ(empty.word(), "[]") << empty.out;
    EXPECT_EQ((co_await cli.hako("usage --by planet")).status, 2);
    EXPECT_EQ((co_await cli.hako("usage --from soon")).status, 1);

    auto owner = co_await cli.hako("key create --tenant acme --role owner");
    EXPECT_EQ((co_await cli.hako("model stop --reason 'too dear'", owner.word())).status, 0);
    EXPECT_EQ((co_await cli.hako("model stop --all-tenants", owner.word())).status, 1);
    expect_part((co_await cli.hako("model ls", owner.word())).out, "stopped for tenant acme since");
    EXPECT_EQ((co_await cli.hako("model stop --all-tenants")).status, 0);
    expect_part((co_await cli.hako("model ls")).out, "stopped for all since");
    EXPECT_EQ((co_await cli.hako("model start", owner.word())).status, 0);
    EXPECT_EQ((co_await cli.hako("model start --all-tenants")).status, 0);
    EXPECT_EQ((co_await cli.hako("model ls")).out.find("stopped"), std::string::npos);
  });
}

TEST_F(CliTenantsTest, TheTenantOptionIsForTheOperatorAndHidesWhatIsNotTheirs) {
  with_api([](CliTenantsTest& cli) -> Task<void> {
    for (const char* name : {"acme", "beta"}) {
      (void)co_await cli.hako("tenant create " + std::string(name));
    }
    auto owner = co_await cli.hako("key create --tenant acme --role owner");
    auto box = co_await cli.hako("create", owner.word());
    EXPECT_EQ(box.status, 0) << box.err;
    expect_part((co_await cli.hako("ps --tenant acme")).out, box.word());
    EXPECT_EQ((co_await cli.hako("ps --tenant beta")).out.find(box.word()), std::string::npos);
    EXPECT_EQ((co_await cli.hako("ps")).out.find(box.word()), std::string::npos);
    expect_part((co_await cli.hako("ps --tenant beta", owner.word())).err,
                "tenant beta not found");
    expect_part((co_await cli.hako("ps --tenant none", owner.word())).err,
                "tenant none not found");
    EXPECT_EQ((co_await cli.hako("ps --tenant acme", owner.word())).status, 0);
    EXPECT_EQ((co_await cli.hako("ps --tenant 'a b'")).status, 1);
  });
}

TEST_F(CliTenantsTest, WhatIsNotUnderstoodMakesNothing) {
  with_api([](CliTenantsTest& cli) -> Task<void> {
    EXPECT_EQ((co_await cli.hako("key create --role platform")).status, 2);
    EXPECT_EQ((co_await cli.hako("key create --actions everything")).status, 1);
    EXPECT_EQ((co_await cli.hako("key create --expires whenever")).status, 1);
    EXPECT_EQ((co_await cli.hako("key rotate")).status, 2);
    EXPECT_EQ((co_await cli.hako("token revoke")).status, 2);
    EXPECT_EQ((co_await cli.hako("tenant create Acme")).status, 1);
    EXPECT_EQ((co_await cli.hako("tenant create a --quota-boxes -1")).status, 2);
    auto keys = co_await cli.lab_.ask(http::Verb::get, "/v1/keys");
    EXPECT_EQ(keys.body.at("keys").as_array().size(), 1u);
    auto tenants = co_await cli.lab_.ask(http::Verb::get, "/v1/tenants");
    EXPECT_EQ(tenants.body.at("tenants").as_array().size(), 1u);
  });
}

}  // namespace
}  // namespace hako::test
