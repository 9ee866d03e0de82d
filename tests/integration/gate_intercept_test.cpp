// Secrets in the place of placeholders, on connections whose TLS ends at the gate.
#include "base/encoding.h"
#include "support/gate_lab_intercept.h"

namespace hako::test {
namespace {

namespace json = boost::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string header(const std::string& name, const std::string& value) {
  return "-H '" + name + ": " + value + "' ";
}

std::string key_header(const std::string& value) {
  return header("x-api-key", value);
}

INTERCEPT_TEST(puts_a_secret_where_its_placeholder_belongs) {
  auto ran = co_await curl(key_header(kPlaceholder) + "-d body https://web.example/a?b=c");
  EXPECT_EQ(ran.output, "fine\n");
  auto bearer = co_await curl(header("Authorization", std::string("bearer ") + kPlaceholder) +
                              "https://web.example/bearer");
  EXPECT_EQ(bearer.output, "fine\n");
  auto basic = co_await curl(std::string("-u me:") + kPlaceholder + " https://web.example/basic");
  EXPECT_EQ(basic.output, "fine\n");
  auto none = co_await curl("https://web.example/none");
  EXPECT_EQ(none.output, "fine\n");
  EXPECT_EQ(seen.size(), 4u);
  if (seen.size() != 4) co_return;
  EXPECT_EQ(seen[0].target, "/a?b=c");
  EXPECT_EQ(seen[0].body, "body");
  EXPECT_EQ(seen[0].fields["x-api-key"], kValue);
  EXPECT_EQ(seen[0].fields["x-sent-by"], "hako");
  EXPECT_EQ(seen[0].fields["Host"], "web.example");
  EXPECT_EQ(seen[0].fields["Accept-Encoding"], "identity");
  EXPECT_EQ(seen[1].fields["Authorization"], std::string("Bearer ") + kValue);
  EXPECT_EQ(seen[2].fields["Authorization"],
            "Basic " + base64_encode(std::string("me:") + kValue));
  EXPECT_EQ(seen[3].fields.count("x-api-key"), 0u);
  EXPECT_FALSE(arrived(kPlaceholder));
  co_await record(R"({"kind":"secret","verdict":"allowed","rule":"secret api",)"
                  R"("name":"web.example","port":443})");
  co_await record(R"({"kind":"tcp","verdict":"ended","name":"web.example"})");
}

INTERCEPT_TEST(shows_a_certificate_of_the_boxs_own_authority_and_no_other) {
  std::string address = co_await lookup("web.example");
  auto shown = co_await run_in_guest("openssl s_client -connect " + address +
                                     ":443 -servername web.example -alpn h2,http/1.1 -CAfile " +
                                     box_ca_->authority() + " -verify_hostname web.example "
                                     "-verify_return_error </dev/null");
  EXPECT_THAT(shown.output, HasSubstr("Verification: OK"));
  EXPECT_THAT(shown.output, HasSubstr("ALPN protocol: http/1.1"));
  auto outside = co_await run_in_guest(
      "curl -sS --max-time 9 --noproxy '*' --cacert " + outside_->authority() +
      " --resolve web.example:443:" + address + " https://web.example/");
  EXPECT_NE(outside.code, 0);
  EXPECT_TRUE(seen.empty());
  // A host without a secret is not looked into: what it shows is its own.
  auto other = co_await lookup("other.example");
  auto direct = co_await run_in_guest(
      "curl -sS --max-time 9 --noproxy '*' --cacert " + outside_->authority() +
      " --resolve other.example:443:" + other + " https://other.example/");
  EXPECT_EQ(direct.output, "fine\n");
}

/// A placeholder in a wrong place, and how curl is told to send it.
struct Misplaced {
  const char* what;
  std::string arguments;
};

class MisplacedTest : public InterceptTest {
 protected:
  std::vector<Misplaced> attempts() const {
    std::string fake = kPlaceholder, other = kOtherPlaceholder;
    std::string in_base64 = base64_encode("{\"k\":\"" + fake + "\"}");
    std::string in_percent;
    for (char c : fake) in_percent += "%" + hex_encode(std::string(1, c));
    std::string escaped;
    for (char c : fake) escaped += "\\u00" + hex_encode(std::string(1, c));
    std::string long_body = directory_ + "/long", gzipped = directory_ + "/gz";
    (void)write_file_atomically(long_body, std::string(70000, 'a') + fake + std::string(900, 'b'), 0644);
    (void)std::system(("gzip -9 < " + long_body + " > " + gzipped).c_str());
    std::string url = " https://web.example/";
    return {
        {"URL", url + fake},
        {"query", url + "?key=" + fake},
        {"query, escaped", url + "?key=" + in_percent},
        {"other header", header("x-other-key", fake) + url},
        {"more than the placeholder", key_header("a" + fake) + url},
        {"cookie", header("Cookie", "a=" + fake) + url},
        {"name of a header", header(fake, "1") + url},
        {"user of Basic", "-u " + fake + ":x" + url},
        {"password of Basic, longer", "-u x:y" + fake + url},
        {"referer", header("Referer", "https://web.example/" + in_percent) + url},
        {"twice", key_header(fake) + key_header(fake) + url},
        {"twice, once as something else", key_header(fake) + key_header("x") + url},
        {"another secret's", key_header(other) + url},
        {"another secret's as a bearer", header("Authorization", "Bearer " + other) + url},
        {"body", "-d " + fake + url},
        {"body, JSON escapes", "-d '{\"k\":\"" + escaped + "\"}'" + url},
        {"body, base64", "-d " + in_base64 + url},
        {"body of a form", "-d k=" + in_percent + url},
        {"long body", "-T " + long_body + url},
        {"long body in chunks", header("Transfer-Encoding", "chunked") + "-T " + long_body + url},
        {"gzip", header("Content-Encoding", "gzip") + "--data-binary @" + gzipped + url},
        {"multipart", "-F k=@" + long_body + url},
    };
  }
};

INTERCEPT_TEST_IN(MisplacedTest, refuses_a_placeholder_anywhere_else) {
  for (const auto& attempt : attempts()) {
    seen.clear();
    node_->egress_records().clear();
    auto ran = co_await curl("-w '%{http_code}' " + attempt.arguments);
    EXPECT_THAT(ran.output, HasSubstr("403")) << attempt.what;
    EXPECT_THAT(ran.output, HasSubstr("hako: ")) << attempt.what;
    EXPECT_FALSE(arrived(kValue)) << attempt.what;
    // Of a body that streams something may have gone, but never all of the request.
    for (const auto& request : seen) EXPECT_FALSE(request.whole) << attempt.what;
    EXPECT_FALSE(arrived(kPlaceholder)) << attempt.what;
    co_await record(R"({"kind":"secret","verdict":"denied","name":"web.example"})");
  }
}

INTERCEPT_TEST(refuses_a_placeholder_in_clear) {
  for (std::string name : {"web.example", "other.example"}) {
    std::string address = co_await lookup(name);
    auto in_clear = [&](std::string arguments) {
      return run_in_guest("curl -sS --max-time 9 --noproxy '*' -w '%{http_code}' --resolve " + name +
                          ":80:" + address + " " + arguments + " http://" + name + "/");
    };
    auto honest = co_await in_clear("-d body");
    EXPECT_THAT(honest.output, HasSubstr("200")) << name;
    node_->egress_records().clear();
    auto head = co_await in_clear(key_header(kPlaceholder));
    EXPECT_THAT(head.output, HasSubstr("without TLS")) << name;
    EXPECT_THAT(head.output, HasSubstr("403")) << name;
    co_await record(R"({"kind":"tcp","verdict":"denied","name":")" + name + R"(","port":80})");
    auto body = co_await in_clear(std::string("-d k=") + kPlaceholder);
    EXPECT_THAT(body.output, HasSubstr("403")) << name;
  }
}

INTERCEPT_TEST(refuses_what_it_cannot_look_at) {
  std::string url = "https://web.example/ -w '%{http_code}' ";
  auto brotli = co_await curl("-d x " + header("Content-Encoding", "br") + url);
  EXPECT_THAT(brotli.output, HasSubstr("415"));
  auto twice = co_await curl("-d x " + header("Content-Encoding", "gzip, gzip") + url);
  EXPECT_THAT(twice.output, HasSubstr("415"));
  auto rubbish = co_await curl("-d xxxxxxxxxxxxxxxx " + header("Content-Encoding", "gzip") + url);
  EXPECT_THAT(rubbish.output, HasSubstr("403"));
  auto trace = co_await curl("-X TRACE " + key_header(kPlaceholder) + url);
  EXPECT_THAT(trace.output, HasSubstr("403"));
  auto compressed = co_await curl(key_header(kPlaceholder) + "https://web.example/compressed");
  EXPECT_THAT(compressed.output, HasSubstr("cannot be looked at"));
  EXPECT_THAT(compressed.output, Not(HasSubstr("fine")));
}

INTERCEPT_TEST(looks_at_fields_behind_a_body) {
  std::string trailer = std::string("x-api-key: ") + kPlaceholder;
  auto answer = co_await talk_tls(
      "POST / HTTP/1.1\r\nHost: web.example\r\nTransfer-Encoding: chunked\r\nTrailer: x-api-key\r\n"
      "Connection: close\r\n\r\n3\r\nabc\r\n0\r\n" + trailer + "\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403"));
  EXPECT_FALSE(arrived(kValue));
  for (const auto& request : seen) EXPECT_FALSE(request.whole);
}

INTERCEPT_TEST(an_answer_brings_no_secret_back) {
  auto plain = co_await curl("-i " + key_header(kPlaceholder) + "https://web.example/echo");
  EXPECT_THAT(plain.output, HasSubstr(std::string("x-api-key: ") + kPlaceholder));
  EXPECT_THAT(plain.output, HasSubstr(std::string("X-Echo: ") + kPlaceholder));
  EXPECT_THAT(plain.output, Not(HasSubstr(kValue)));
  EXPECT_THAT(plain.output, Not(HasSubstr(base64_encode("x" + std::string(kValue) + "y"))));
  auto basic = co_await curl(std::string("-u me:") + kPlaceholder + " https://web.example/echo");
  EXPECT_THAT(basic.output,
              Not(HasSubstr(base64_encode("me:" + std::string(kValue)))));
  auto pieces = co_await curl(key_header(kPlaceholder) + "https://web.example/echo-in-pieces");
  // The first bytes, which all values of a kind have, do not wait for what follows them; where that is
  // there already, all of it is masked.
  std::string masked = std::string("key=") + kPlaceholder;
  EXPECT_THAT(pieces.output, AnyOf(masked, std::string("key=") + std::string(kValue).substr(0, 4) +
                                               std::string(kPlaceholder).substr(4)));
  EXPECT_TRUE(arrived(kValue));
  co_await record(R"({"kind":"secret","verdict":"denied","name":"web.example",)"
                  R"("reason":"the answer had a secret in it, which was masked"})");
}

INTERCEPT_TEST(an_answer_passes_as_it_comes_and_whole) {
  auto stream = co_await connect_tls();
  std::string get = std::string("GET /stream HTTP/1.1\r\nHost: web.example\r\nx-api-key: ") +
                    kPlaceholder + "\r\n\r\n";
  co_await say(stream, get);
  auto first = co_await read_for(stream, "data: 1\n\n", 500ms);
  EXPECT_THAT(first, HasSubstr("data: 1\n\n"));
  EXPECT_THAT(first, Not(HasSubstr("<open>")));
  auto second = co_await read_for(stream, "0\r\n\r\n");
  EXPECT_THAT(second, HasSubstr("data: 2\n\n"));
  auto large = co_await curl("https://web.example/large | sha256sum");
  std::string all = pattern_at(0, 8 << 20);
  (void)write_file_atomically(directory_ + "/large", all, 0644);
  auto hash = co_await run_in_guest("sha256sum < " + directory_ + "/large");
  EXPECT_EQ(large.output, hash.output);
  auto sent = co_await curl("-T " + directory_ + "/large https://web.example/up");
  EXPECT_EQ(sent.output, "fine\n");
  EXPECT_EQ(seen.back().body.size(), all.size());
  EXPECT_TRUE(seen.back().body == all);
}

INTERCEPT_TEST(websockets_pass_and_bring_no_secret_back) {
  auto stream = co_await connect_tls();
  co_await say(stream, std::string("GET /ws HTTP/1.1\r\nHost: web.example\r\nx-api-key: ") +
                           kPlaceholder +
                           "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                           "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
  auto head = co_await read_for(stream, "\r\n\r\n");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 101"));
  EXPECT_EQ(seen.back().fields["x-api-key"], kValue);
  EXPECT_EQ(seen.back().fields.count("Sec-WebSocket-Extensions"), 0u);
  co_await say(stream, "hello");
  auto echo = co_await read_for(stream, "hello");
  EXPECT_EQ(echo, "hello");
  co_await say(stream, "key?");
  auto masked = co_await read_for(stream, ".");
  EXPECT_EQ(masked, "key=" + std::string(kPlaceholder) + ".");
  broker_->changed(kBoxName);
  auto end = co_await read_for(stream, std::string());
  EXPECT_EQ(end, "<reset>");
}

INTERCEPT_TEST(requests_that_could_be_read_in_two_ways_are_refused) {
  std::string host = "Host: web.example\r\n", key = std::string("x-api-key: ") + kPlaceholder + "\r\n";
  std::string smuggled = "GET /smuggled HTTP/1.1\r\nHost: web.example\r\n\r\n";
  const std::string heads[] = {
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
      "POST / HTTP/1.1\r\n" + host + "Content-Length: 4\r\nContent-Length: 60\r\n\r\nabcd" + smuggled,
      "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked, x\r\n\r\n0\r\n\r\n" + smuggled,
      "GET / HTTP/1.1\r\n" + host + "x-a: 1\r\n x-api-key: y\r\n" + key + "\r\n",
      "GET / HTTP/1.1\r\n" + host + "x-a: 1\r\n\tfolded\r\n\r\n",
      "GET / HTTP/1.1\r\n" + host + host + key + "\r\n",
      "GET / HTTP/1.1\r\n" + key + "\r\n",
      "GET / HTTP/1.1\r\nHost: evil.example\r\n" + key + "\r\n",
      "GET https://evil.example/ HTTP/1.1\r\n" + host + key + "\r\n",
      "GET / HTTP/1.1\r\n" + host + "x-a: 1" + std::string(1, '\0') + "2\r\n" + key + "\r\n",
      "GET / HTTP/1.1\r\n" + host + "x-a: 1\nx-api-key: 2\r\n" + key + "\r\n",
      "GET / HTTP/1.1\r\n" + host + "x-api-key : " + kPlaceholder + "\r\n\r\n",
      "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
      "CONNECT evil.example:443 HTTP/1.1\r\n" + host + "\r\n",
  };
  for (const auto& head : heads) {
    seen.clear();
    node_->egress_records().clear();
    auto answer = co_await talk_tls(head);
    EXPECT_THAT(answer, AnyOf(StartsWith("HTTP/1.1 400"), StartsWith("HTTP/1.1 403"))) << head;
    EXPECT_TRUE(seen.empty()) << head;
    co_await record(R"({"kind":"secret","verdict":"denied"})");
  }
  node_->egress_records().clear();
  auto chunk = co_await talk_tls("POST / HTTP/1.1\r\n" + host +
                                 "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n" + smuggled);
  EXPECT_THAT(chunk, Not(HasSubstr("fine")));
  for (const auto& request : seen) EXPECT_FALSE(request.whole);
  co_await record(R"({"kind":"secret","verdict":"denied"})");
}

INTERCEPT_TEST(sends_secrets_only_to_who_has_proved_to_be_the_host) {
  for (const char* impostor : {"liar", "stranger"}) {
    world_->use_certificate(outside_->certificate(impostor), outside_->key_file(impostor));
    auto ran = co_await curl("-w '%{http_code}' " + key_header(kPlaceholder) + "https://web.example/");
    EXPECT_THAT(ran.output, HasSubstr("502")) << impostor;
    EXPECT_TRUE(seen.empty()) << impostor;
  }
  world_->use_certificate(outside_->certificate("web"), outside_->key_file("web"));
  auto ran = co_await curl(key_header(kPlaceholder) + "https://web.example/");
  EXPECT_EQ(ran.output, "fine\n");
}

INTERCEPT_TEST(without_the_api_nothing_passes) {
  co_await broker_->wait_for_gate();
  broker_->boxes.clear();
  auto unknown = co_await curl(key_header(kPlaceholder) + "https://web.example/");
  EXPECT_NE(unknown.code, 0);
  EXPECT_TRUE(seen.empty());
  co_await record(R"({"kind":"tcp","verdict":"denied","rule":"secret","name":"web.example"})");
  broker_->boxes[kBoxName] = json::object{{"revision", "1"}};
  auto malformed = co_await curl(key_header(kPlaceholder) + "https://web.example/");
  EXPECT_NE(malformed.code, 0);
  EXPECT_TRUE(seen.empty());
  broker_->boxes[kBoxName] = material();
  auto good = co_await curl(key_header(kPlaceholder) + "https://web.example/");
  EXPECT_EQ(good.output, "fine\n");
}

INTERCEPT_TEST(a_change_holds_from_the_next_request_on) {
  auto stream = co_await connect_tls();
  std::string get = std::string("GET / HTTP/1.1\r\nHost: web.example\r\nx-api-key: ") +
                    kPlaceholder + "\r\n\r\n";
  co_await say(stream, get);
  auto first = co_await read_for(stream, "fine\n");
  EXPECT_THAT(first, HasSubstr("fine\n"));
  std::string rotated = "sk-real-rotated-rotated-rotated-123";
  broker_->boxes[kBoxName] = material(rotated);
  broker_->changed(kBoxName);
  co_await sleep_for(50ms);
  co_await say(stream, get);
  auto second = co_await read_for(stream, "fine\n");
  EXPECT_THAT(second, HasSubstr("fine\n"));
  EXPECT_EQ(seen.at(0).fields["x-api-key"], kValue);
  EXPECT_EQ(seen.at(1).fields["x-api-key"], rotated);
  auto without = material();
  without["hosts"] = json::array();
  broker_->boxes[kBoxName] = without;
  broker_->changed(kBoxName);
  co_await sleep_for(50ms);
  co_await say(stream, get);
  auto third = co_await read_for(stream, "more\n");
  EXPECT_THAT(third, StartsWith("HTTP/1.1 403"));
  EXPECT_EQ(seen.size(), 2u);
}

INTERCEPT_TEST(a_policy_that_changes_cuts_what_was_not_looked_into) {
  co_await set_policy(allow("web.example other.example"));
  std::string address = co_await lookup("web.example");
  auto plain = co_await connect(address, World::kHttps);
  tls::Client client(outside_->authority());
  auto shaken = co_await client.connect(std::move(plain), "web.example");
  EXPECT_TRUE(shaken);
  if (!shaken) co_return;
  co_await set_policy(intercepting());
  auto end = co_await read_for(shaken.value(), std::string());
  EXPECT_EQ(end, "<reset>");
  auto looked_into = co_await connect_tls();
  co_await set_policy(allow("web.example other.example"));
  auto other_end = co_await read_for(looked_into, std::string());
  EXPECT_EQ(other_end, "<reset>");
}

INTERCEPT_TEST(a_host_with_secrets_is_named_nowhere_else) {
  auto everything = internet();
  everything.intercept.push_back({"web.example"});
  co_await set_policy(everything);
  std::string other = co_await lookup("other.example");
  std::string curl_to = "curl -sSk --max-time 9 --noproxy '*' --resolve web.example:443:";
  auto by_name = co_await run_in_guest(curl_to + other + " https://web.example/");
  EXPECT_NE(by_name.code, 0);
  auto by_address = co_await run_in_guest(curl_to + World::kWeb + " https://web.example/");
  EXPECT_NE(by_address.code, 0);
  EXPECT_TRUE(seen.empty());
  auto elsewhere = co_await run_in_guest("curl -sSk --max-time 9 --noproxy '*' https://" +
                                         std::string(World::kOther) + "/");
  EXPECT_EQ(elsewhere.output, "fine\n");
  auto looked_into = co_await curl(key_header(kPlaceholder) + "https://web.example/");
  EXPECT_EQ(looked_into.output, "fine\n");
  EXPECT_EQ(seen.back().fields["x-api-key"], kValue);
}

}  // namespace
}  // namespace hako::test
