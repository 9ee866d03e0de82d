#include <gtest/gtest.h>

#include "api/checkpoints.h"
#include "api/keys.h"
#include "api/list_query.h"
#include "api/requests.h"

namespace hako::api {
namespace {

using std::chrono::seconds;

Result<CreateRequest> create(std::string_view body, Generation generation = Generation::v2) {
  return parse_create(body, generation);
}

/// The code and text of what must fail.
template <class T>
std::string error_of(const Result<T>& result) {
  if (result) return "(no error)";
  return std::string(to_string(result.error().code())) + ": " + result.error().message();
}

TEST(ParseCreate, WhatTheClientsSend) {
  auto newest = create(R"({"templateID":"base"})");
  ASSERT_TRUE(newest);
  EXPECT_EQ(newest.value().template_reference, "base");
  EXPECT_EQ(newest.value().timeout, seconds(300));
  EXPECT_TRUE(newest.value().secure);

  auto older =
      create(R"({"templateID":"base","timeout":300,"secure":true,"allow_internet_access":true})",
             Generation::v1);
  ASSERT_TRUE(older);
  EXPECT_EQ(older.value().timeout, seconds(300));
  EXPECT_TRUE(older.value().secure);
}

TEST(ParseCreate, TheGenerationsDifferInTheirDefaults) {
  auto first = create(R"({"templateID":"base"})", Generation::v1);
  ASSERT_TRUE(first);
  EXPECT_EQ(first.value().timeout, seconds(15));
  EXPECT_TRUE(first.value().secure);
  auto open = create(R"({"templateID":"base","secure":false})", Generation::v1);
  ASSERT_TRUE(open);
  EXPECT_FALSE(open.value().secure);
  auto second = create(R"({"templateID":"base","secure":false})", Generation::v2);
  ASSERT_TRUE(second);
  EXPECT_TRUE(second.value().secure);
}

TEST(ParseCreate, TakesEveryField) {
  auto parsed = create(R"({"templateID":"py-3_x:default","timeout":60,
    "metadata":{"a":"b","":null},"x":1})");
  EXPECT_EQ(error_of(parsed), "invalid_argument: metadata must not have an empty key");
  parsed = create(R"({"templateID":"py-3_x:default","timeout":60,"metadata":{"a":"b"},
    "envVars":{"PATH":"/bin","E":""},"memoryMB":512,"cpuCount":2,"network":{"allowOut":["1.1.1.1"],
    "denyOut":[],"allowPublicTraffic":true},"autoPause":false,"autoResume":{"enabled":false},
    "mcp":{"x":{}},"iam":{"tokens":{}},"volumeMounts":[],"nobodyKnowsThis":[1,{}]})");
  ASSERT_TRUE(parsed) << error_of(parsed);
  EXPECT_EQ(parsed.value().template_reference, "py-3_x:default");
  EXPECT_EQ(parsed.value().timeout, seconds(60));
  EXPECT_EQ(parsed.value().metadata, (TextPairs{{"a", "b"}}));
  EXPECT_EQ(parsed.value().environment, (TextPairs{{"PATH", "/bin"}, {"E", ""}}));
  EXPECT_EQ(parsed.value().memory_mib, 512);
  EXPECT_EQ(parsed.value().vcpus, 2);
}

TEST(ParseCreate, NullIsAbsent) {
  EXPECT_TRUE(create(R"({"templateID":"base","timeout":null,"metadata":null,"network":null,
    "autoResume":null,"mcp":null,"volumeMounts":null})"));
}

TEST(ParseCreate, WantsATemplate) {
  for (const char* body : {"{}", R"({"templateID":null})", R"({"timeout":60})"}) {
    EXPECT_EQ(error_of(create(body)), "invalid_argument: templateID is required") << body;
    EXPECT_EQ(error_of(create(body, Generation::v1)), "invalid_argument: templateID is required")
        << body;
  }
  EXPECT_EQ(error_of(create("")),
            "invalid_argument: the body must be a JSON object with a templateID");
}

TEST(ParseCreate, NamesTheWrongField) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"({"templateID":5})", "templateID must be a string"},
      {R"({"templateID":""})", "templateID must not be empty"},
      {R"({"timeout":"300"})", "timeout must be a whole number"},
      {R"({"timeout":0})", "timeout must be a whole number from 1"},
      {R"({"timeout":-1})", "timeout must be"},
      {R"({"timeout":1.5})", "timeout must be"},
      {R"({"timeout":1e300})", "timeout must be"},
      {R"({"timeout":99999999999999999999})", "timeout must be"},
      {R"({"metadata":[]})", "metadata must be an object"},
      {R"({"metadata":{"a":1}})", "metadata.a must be a string"},
      {R"({"metadata":{"a":null}})", "metadata.a must be a string"},
      {"{\"metadata\":{\"a\":\"\\u0000\"}}", "metadata.a must not hold a NUL character"},
      {R"({"envVars":"x"})", "envVars must be an object"},
      {R"({"envVars":{"A=B":"x"}})", "must not have '=' in its name"},
      {"{\"envVars\":{\"A\":\"x\\u0000y\"}}", "envVars.A must not hold a NUL character"},
      {R"({"memoryMB":"1"})", "memoryMB must be"},
      {R"({"memoryMB":0})", "memoryMB must be"},
      {R"({"cpuCount":true})", "cpuCount must be"},
      {R"({"allow_internet_access":"yes"})", "allow_internet_access must be true or false"},
      {R"({"network":[]})", "network must be an object"},
      {R"({"network":{"allowOut":"x"}})", "network.allowOut must be an array"},
      {R"({"network":{"denyOut":[1]}})", "network.denyOut[0] must be a string"},
      {R"({"autoPause":1})", "autoPause must be true or false"},
      {R"({"autoPauseMemory":false})", "autoPauseMemory cannot be false without autoPause"},
      {R"({"autoResume":true})", "autoResume must be an object"},
      {R"({"mcp":1})", "mcp must be an object"},
      {R"({"volumeMounts":{}})", "volumeMounts must be an array"},
  };
  for (const auto& [body, message] : kCases) {
    std::string error = error_of(create(body));
    EXPECT_EQ(error.rfind("invalid_argument: ", 0), 0u) << body << " gave " << error;
    EXPECT_NE(error.find(message), std::string::npos) << body << " gave " << error;
  }
  EXPECT_NE(error_of(create(R"({"secure":"no"})", Generation::v1)).find("secure must be"),
            std::string::npos);
}

TEST(ParseCreate, RefusesWhatItCannotPromise) {
  for (const char* body :
       {R"({"iam":{"tokens":{"a":{}}}})", R"({"volumeMounts":[{"name":"v","path":"/v"}]})"}) {
    EXPECT_EQ(error_of(create(body)).rfind("unsupported: ", 0), 0u) << body;
  }
}

TEST(ParseCreate, WhatMustNotGoWithoutAProxyOrAHeaderIsRefused) {
  for (const char* network :
       {R"({"egressProxy":{"address":"proxy.example:1080","username":"u","password":"p"}})",
        R"({"rules":{"*.a.example":[{"transform":{"headers":{"X-A":"1"}}}]}})",
        R"({"rules":{"a.example":[{"transform":{"headers":{"X-A":"${e2b.identity.tokens.k}"}}}]}})"}) {
    std::string body = R"({"templateID":"base","network":)" + std::string(network) + "}";
    EXPECT_EQ(error_of(create(body)).rfind("unsupported: network.", 0), 0u) << network;
    EXPECT_EQ(error_of(update_network({}, network)).rfind("unsupported: ", 0), 0u) << network;
  }
}

/// `network` and what goes with it, in a whole body.
std::string with_template(const std::string& members) {
  return R"({"templateID":"base",)" + members + "}";
}

TEST(ParseCreate, KeepsWhatWasAskedOfTheNetwork) {
  auto parsed = create(with_template(R"("allow_internet_access":false,"network":{
    "allowOut":["1.1.1.1","10.0.0.0/8","example.com","*.example.org","2001:db8::/32"],
    "denyOut":["0.0.0.0/0"],"allowPublicTraffic":false,"maskRequestHost":"localhost:${PORT}",
    "rules":{"A.Example":[{"transform":{"headers":{"X-A":"${e2b.secrets.k}"}}}]},"httpsPorts":[443,8443]},"autoPause":true,"autoResume":{"enabled":true})"));
  ASSERT_TRUE(parsed) << error_of(parsed);
  const SandboxOptions& options = parsed.value().options;
  EXPECT_EQ(options.allow_internet_access, false);
  EXPECT_FALSE(options.is_public());
  EXPECT_EQ(options.mask_host(), "localhost:${PORT}");
  EXPECT_TRUE(options.auto_pause);
  EXPECT_TRUE(options.auto_resume);
  EXPECT_EQ(options.timeout_s, 300);
  EXPECT_EQ(options.network.at("allowOut").as_array().size(), 5u);
  EXPECT_TRUE(options.network.at("rules").as_object().contains("a.example"));
  EXPECT_EQ(parse_options(write_options(options)), options);
  EXPECT_EQ(parse_options("rubbish"), SandboxOptions());
}

TEST(ParseCreate, RefusesANetworkThatCannotBe) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"("network":{"allowOut":["example.com"]})", "denyOut must hold 0.0.0.0/0"},
      {R"("network":{"denyOut":["example.com"]})", "domains cannot be denied"},
      {R"("network":{"denyOut":["10.0.0.0/33"]})", "network.denyOut[0] must be"},
      {R"("network":{"allowOut":["a b"],"denyOut":["0.0.0.0/0"]})", "network.allowOut[0] must be"},
      {R"("network":{"allowOut":["*"],"denyOut":["0.0.0.0/0"]})", "network.allowOut[0] must be"},
      {R"("network":{"maskRequestHost":"a\r\nX: y"})", "network.maskRequestHost must be"},
      {R"("network":{"egressProxy":{}})", "network.egressProxy.address must be host:port"},
      {R"("network":{"egressProxy":{"address":"p:0"}})", "egressProxy.address must be"},
      {R"("network":{"rules":{"*":[]}})", "network.rules.* must be named by a domain"},
      {R"("network":{"rules":{"a.b":{}}})", "network.rules.a.b must be an array"},
      {R"("network":{"rules":{"a.b":[{},{}]}})", "at most one rule"},
      {R"("network":{"rules":{"a.b":[{"transform":{"headers":{"a":1}}}]}})", "headers.a must be"},
      {R"("network":{"rules":{"a.b":[{"transform":{"headers":{"Host":"x"}}}]}})",
       "headers must be ones that clients may set"},
      {R"("network":{"rules":{"a.b":[{"transform":{"headers":{"a":"b\r\nc: d"}}}]}})",
       "headers must hold printable ASCII"},
      {R"("network":{"httpsPorts":[49983]})", "and not 49983"},
      {R"("network":{"httpsPorts":["443"]})", "network.httpsPorts must hold ports"},
      {R"("network":{"allowPublicTraffic":1})", "network.allowPublicTraffic must be"},
      {R"("autoPauseMemory":false)", "autoPauseMemory cannot be false without autoPause"},
      {R"("autoPause":true,"autoPauseMemory":false,"autoResume":{"enabled":true})",
       "autoPauseMemory cannot be false with autoResume"},
  };
  for (const auto& [members, message] : kCases) {
    std::string error = error_of(create(with_template(members)));
    EXPECT_EQ(error.rfind("invalid_argument: ", 0), 0u) << members << " gave " << error;
    EXPECT_NE(error.find(message), std::string::npos) << members << " gave " << error;
  }
  // All is denied already where there is to be no internet.
  EXPECT_TRUE(create(
      with_template(R"("allow_internet_access":false,"network":{"allowOut":["example.com"]})")));
}

TEST(UpdateNetwork, ReplacesWhatConcernsGoingOut) {
  auto parsed = create(with_template(R"("allow_internet_access":false,"network":{
    "denyOut":["0.0.0.0/0"],"maskRequestHost":"x","httpsPorts":[443]})"));
  ASSERT_TRUE(parsed);
  auto updated = update_network(parsed.value().options, R"({"allowOut":["1.1.1.1"]})");
  ASSERT_TRUE(updated) << error_of(updated);
  EXPECT_EQ(
      updated.value().options.network,
      boost::json::parse(R"({"maskRequestHost":"x","httpsPorts":[443],"allowOut":["1.1.1.1"]})"));
  EXPECT_EQ(updated.value().options.allow_internet_access, std::nullopt);
  auto wrong = update_network(parsed.value().options, R"({"allowOut":["example.com"]})");
  EXPECT_NE(error_of(wrong).find("denyOut"), std::string::npos);
  EXPECT_FALSE(update_network(parsed.value().options, "[]"));
}

TEST(ParseOther, WhatIsPausedForkedOrKept) {
  for (const char* body : {R"({"count":0})", R"({"count":101})", R"({"timeout":0})", "[]"}) {
    EXPECT_FALSE(parse_fork(body)) << body;
  }
  EXPECT_EQ(parse_fork("").value().count, 1);
  EXPECT_EQ(parse_fork("").value().timeout, seconds(15));
  EXPECT_EQ(parse_fork(R"({"count":100,"timeout":16})").value().count, 100);
  EXPECT_EQ(parse_fork(R"({"count":100,"timeout":16})").value().timeout, seconds(16));
  EXPECT_TRUE(parse_pause("").value());
  EXPECT_FALSE(parse_pause(R"({"memory":false})").value());
  EXPECT_FALSE(parse_pause(R"({"memory":1})"));
  EXPECT_EQ(parse_snapshot("").value(), "");
  EXPECT_EQ(parse_snapshot(R"({"name":"Team/App"})").value(), "team/app:default");
  EXPECT_EQ(parse_snapshot(R"({"name":"app:v1"})").value(), "app:v1");
  for (const char* body : {R"({"name":1})", R"({"name":"a b"})", R"({"name":"a:b:c"})"}) {
    EXPECT_FALSE(parse_snapshot(body)) << body;
  }
  EXPECT_EQ(parse_rollback(R"({"snapshotID":"s-1"})").value(), "s-1");
  EXPECT_FALSE(parse_rollback("{}"));
  EXPECT_EQ(parse_resume("").value().timeout, seconds(15));
  EXPECT_FALSE(parse_resume(R"({"timeout":0})"));
}

TEST(Checkpoints, HaveNamesThatSayWhoseTheyAre) {
  EXPECT_EQ(pause_checkpoint("i1", 12), "p-i1-12");
  EXPECT_EQ(parse_pause_checkpoint("p-i1-12"), (PauseName{"i1", 12}));
  for (const char* other : {"", "p-", "p-i1", "p-i1-", "p--1", "p-i1-0", "p-i1-01", "p-i1-x",
                            "p-i1-1x", "s-i1-1", "p-i1-99999999999", "p-i1--1"}) {
    EXPECT_EQ(parse_pause_checkpoint(other), std::nullopt) << other;
  }
  std::string id = new_snapshot_id();
  EXPECT_TRUE(is_snapshot_id(id));
  EXPECT_NE(id, new_snapshot_id());
  for (const char* other : {"", "s-", "s-short", "base", "S-00000000000000000000"}) {
    EXPECT_FALSE(is_snapshot_id(other)) << other;
  }
}

TEST(Checkpoints, AnEndThatPausesSaysHow) {
  SandboxOptions options;
  EXPECT_EQ(on_end_json("i1", 0, options), std::nullopt);
  options.auto_pause = true;
  options.auto_pause_memory = false;
  auto on_end = on_end_json("i1", 3, options);
  ASSERT_TRUE(on_end);
  EXPECT_EQ(boost::json::serialize(*on_end),
            R"({"then":"pause","memory":false,"checkpoint":"p-i1-4"})");
}

TEST(Checkpoints, OnlyWhatSleepsWithItsMemoryIsWoken) {
  using enum store::SandboxState;
  SandboxOptions options;
  store::SandboxRecord record;
  record.state = paused;
  record.options = write_options(options);
  EXPECT_FALSE(wakes_on_traffic(record));
  options.auto_resume = true;
  record.options = write_options(options);
  EXPECT_TRUE(wakes_on_traffic(record));
  record.state = resuming;
  EXPECT_TRUE(wakes_on_traffic(record));
  for (auto state : {starting, running, pausing}) {
    record.state = state;
    EXPECT_FALSE(wakes_on_traffic(record));
  }
  record.state = paused;
  record.with_memory = false;
  EXPECT_FALSE(wakes_on_traffic(record));
}

TEST(ParseCreate, NotJson) {
  for (const char* body : {"", "{", "[]", "1", "null", "\"x\"", "{}x", "{\"a\":\"\xff\"}"}) {
    EXPECT_EQ(error_of(create(body)).rfind("invalid_argument: the body", 0), 0u) << body;
  }
  std::string deep = "{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}";
  EXPECT_FALSE(create(deep));
}

TEST(ParseCreate, MapsAreBounded) {
  std::string many = R"({"metadata":{)";
  for (int i = 0; i < 65; ++i) many += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":\"\"";
  EXPECT_NE(error_of(create(many + "}}")).find("at most 64 entries"), std::string::npos);
  std::string long_value = R"({"metadata":{"a":")" + std::string(4097, 'x') + "\"}}";
  EXPECT_NE(error_of(create(long_value)).find("metadata.a must have at most 4096 bytes"),
            std::string::npos);
  std::string long_key = R"({"metadata":{")" + std::string(257, 'x') + "\":\"\"}}";
  EXPECT_NE(error_of(create(long_key)).find("a key of at most 256 bytes"), std::string::npos);
  std::string large = R"({"metadata":{)";
  for (int i = 0; i < 9; ++i) {
    large += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":\"" + std::string(4000, 'x') + "\"";
  }
  EXPECT_NE(error_of(create(large + "}}")).find("32768 bytes in all"), std::string::npos);
}

TEST(ParseTimes, FollowTheProtocol) {
  EXPECT_EQ(parse_timeout(R"({"timeout":5})").value(), seconds(5));
  EXPECT_EQ(parse_timeout(R"({"timeout":-5})").value(), seconds(0));
  EXPECT_EQ(error_of(parse_timeout("{}")), "invalid_argument: timeout is required");
  EXPECT_EQ(error_of(parse_timeout("")), "invalid_argument: timeout is required");
  EXPECT_FALSE(parse_timeout(R"({"timeout":"5"})"));
  EXPECT_EQ(parse_refresh("{}").value(), seconds(15));
  EXPECT_EQ(parse_refresh(R"({"duration":7})").value(), seconds(7));
  EXPECT_FALSE(parse_refresh(R"({"duration":-7})"));
  EXPECT_EQ(parse_connect("", Generation::v2).value().timeout, seconds(300));
  auto connect = parse_connect(R"({"timeout":9,"memory":false})", Generation::v2);
  EXPECT_EQ(connect.value().timeout, seconds(9));
  EXPECT_EQ(connect.value().with_memory, false);
  EXPECT_FALSE(parse_connect("", Generation::v1));
  EXPECT_FALSE(parse_connect(R"({"timeout":9,"memory":1})", Generation::v1));
}

TEST(ParseTemplate, TakesStepsInOrder) {
  auto parsed = parse_template(
      R"({"name":"py","from":"base","memoryMB":512,"cpuCount":2,"diskMB":1024,
          "steps":[{"cmd":"a"},{"cmd":"b","user":"root"}]})",
      "base");
  ASSERT_TRUE(parsed) << error_of(parsed);
  ASSERT_EQ(parsed.value().steps.size(), 2u);
  EXPECT_EQ(parsed.value().steps[1].command, "b");
  EXPECT_EQ(parsed.value().steps[1].user, "root");
  EXPECT_EQ(parsed.value().disk_mib, 1024);
  EXPECT_EQ(parse_template(R"({"name":"x"})", "std").value().from, "std");
}

TEST(ParseTemplate, NamesTheWrongField) {
  const std::pair<const char*, const char*> kCases[] = {
      {"{}", "name must be 1 to 64 characters"},
      {R"({"name":"A"})", "name must be 1 to 64 characters"},
      {R"({"name":"a","from":"../b"})", "from must be 1 to 64 characters"},
      {R"({"name":"a","steps":{}})", "steps must be an array"},
      {R"({"name":"a","steps":["x"]})", "steps[0] must be an object"},
      {R"({"name":"a","steps":[{"cmd":"x"},{}]})", "steps[1].cmd must be a command"},
      {R"({"name":"a","steps":[{"cmd":1}]})", "steps[0].cmd must be a string"},
  };
  for (const auto& [body, message] : kCases) {
    EXPECT_NE(error_of(parse_template(body, "base")).find(message), std::string::npos) << body;
  }
}

http::RequestHead get(std::string target) {
  http::RequestHead head;
  head.target = std::move(target);
  return head;
}

TEST(MetadataFilter, IsEncodedThreeTimes) {
  // What E2B's client sends for {'a b': 'c&d'}.
  auto parsed = parse_list(get("/v2/sandboxes?metadata=a%252520b%3Dc%252526d"), 0);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed.value().query.metadata, (TextPairs{{"a b", "c&d"}}));
}

TEST(MetadataFilter, Decodes) {
  EXPECT_EQ(decode_metadata_filter("user=a&stage=x").value(),
            (TextPairs{{"user", "a"}, {"stage", "x"}}));
  EXPECT_EQ(decode_metadata_filter("a%252Bb=%25C3%25BC").value(), (TextPairs{{"a+b", "ü"}}));
  EXPECT_EQ(decode_metadata_filter("k%253D=%2526").value(), (TextPairs{{"k=", "&"}}));
  EXPECT_EQ(decode_metadata_filter("flag").value(), (TextPairs{{"flag", ""}}));
  EXPECT_EQ(decode_metadata_filter("").value(), TextPairs());
  EXPECT_FALSE(decode_metadata_filter("a=%25zz"));
  EXPECT_FALSE(decode_metadata_filter("a=%zz"));
  std::string many;
  for (int i = 0; i < 65; ++i) many += "k=v&";
  EXPECT_FALSE(decode_metadata_filter(many));
}

TEST(ListQuery, Defaults) {
  auto parsed = parse_list(get("/v2/sandboxes"), 77);
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed.value().query.running && parsed.value().query.paused);
  EXPECT_EQ(parsed.value().query.limit, 100);
  EXPECT_EQ(parsed.value().query.order, store::Order::newest_first);
  EXPECT_EQ(parsed.value().query.alive_at_ms, 77);
}

TEST(ListQuery, StatesAreJoinedByCommas) {
  auto states = [](const char* target) {
    auto parsed = parse_list(get(target), 0);
    const auto& query = parsed.value().query;
    return std::pair(query.running, query.paused);
  };
  EXPECT_EQ(states("/?state=running,paused"), std::pair(true, true));
  EXPECT_EQ(states("/?state=running%2Cpaused"), std::pair(true, true));
  EXPECT_EQ(states("/?state=paused"), std::pair(false, true));
  EXPECT_EQ(states("/?state=running"), std::pair(true, false));
  EXPECT_FALSE(parse_list(get("/?state=stopped"), 0));
}

TEST(ListQuery, NamesTheWrongParameter) {
  for (const char* name :
       {"limit=0", "limit=101", "limit=x", "limit=1x", "order=up", "startedAfter=yesterday",
        "nextToken=@@", "nextToken=YWJj", "state=on", "metadata=%25zz"}) {
    std::string parameter = std::string(name).substr(0, std::string(name).find('='));
    std::string error = error_of(parse_list(get(std::string("/?") + name), 0));
    EXPECT_EQ(error.rfind("invalid_argument: query parameter " + parameter, 0), 0u) << error;
  }
}

TEST(ListQuery, StartedAfterIsATime) {
  auto parsed = parse_list(get("/?startedAfter=1970-01-01T00%3A00%3A01.500Z"), 0);
  ASSERT_TRUE(parsed) << error_of(parsed);
  EXPECT_EQ(parsed.value().query.started_from_ms, 1500);
}

TEST(PageToken, RoundTripsInItsOwnOrderOnly) {
  store::Position position{1234567890123, "iabc"};
  for (auto order : {store::Order::newest_first, store::Order::oldest_first}) {
    std::string token = write_page_token(position, order);
    EXPECT_EQ(token.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789-_"),
              std::string::npos);
    auto read = read_page_token(token, order);
    ASSERT_TRUE(read) << error_of(read);
    EXPECT_EQ(read.value().started_ms, position.started_ms);
    EXPECT_EQ(read.value().id, position.id);
    auto other = order == store::Order::newest_first ? store::Order::oldest_first
                                                     : store::Order::newest_first;
    EXPECT_FALSE(read_page_token(token, other));
  }
}

TEST(Keys, HaveTheFormThatOldClientsCheck) {
  std::string key = make_api_key();
  EXPECT_TRUE(is_api_key(key));
  EXPECT_EQ(key.size(), 44u);
  EXPECT_NE(key, make_api_key());
  EXPECT_FALSE(is_api_key("e2b_"));
  EXPECT_FALSE(is_api_key("e2b_" + std::string(40, 'A')));
  EXPECT_FALSE(is_api_key("xyz_" + std::string(40, 'a')));
  EXPECT_EQ(hash_api_key("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace hako::api
