#include <gtest/gtest.h>

#include <boost/json.hpp>

#include <string>

#include "wire/model_call.h"

namespace hako::wire {
namespace {

ModelRoute route(ModelApi api, std::string_view target) {
  auto found = route_model_request(api, "POST", target);
  EXPECT_TRUE(found) << target;
  return found ? found.value() : ModelRoute();
}

const ModelRoute kMessagesRoute{.dialect = ModelDialect::messages};
const ModelRoute kChatRoute{.dialect = ModelDialect::chat};
const ModelRoute kResponsesRoute{.dialect = ModelDialect::responses};
const ModelRoute kGenerateRoute{.dialect = ModelDialect::generate, .model = "gemini-x"};

ModelRequest request(const ModelRoute& route, std::string_view body) {
  auto read = parse_model_request(route, body);
  EXPECT_TRUE(read) << body << ": " << read.error().message();
  return read ? read.value() : ModelRequest();
}

void expect_refused(const ModelRoute& route, std::string_view body, std::string_view why = "") {
  auto read = parse_model_request(route, body);
  ASSERT_FALSE(read) << body;
  EXPECT_EQ(read.error().code(), ErrorCode::invalid_argument);
  EXPECT_NE(read.error().message().find(why), std::string::npos) << read.error().message();
}

TEST(ModelCall, Routes) {
  EXPECT_EQ(route(ModelApi::anthropic, "/v1/messages?beta=true").dialect, ModelDialect::messages);
  EXPECT_EQ(route(ModelApi::openai, "/v1/chat/completions").dialect, ModelDialect::chat);
  EXPECT_EQ(route(ModelApi::openai, "/openai/v1/responses").dialect, ModelDialect::responses);
  EXPECT_EQ(route(ModelApi::openai, "/v1/responses/compact").dialect, ModelDialect::responses);
  auto gemini = route(ModelApi::gemini, "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse");
  EXPECT_EQ(gemini.model, "gemini-2.5-pro");
  EXPECT_TRUE(gemini.stream);
  EXPECT_FALSE(gemini.free);
  EXPECT_FALSE(route(ModelApi::gemini, "/v1/models/m:generateContent").stream);
}

TEST(ModelCall, FreeRoutes) {
  EXPECT_TRUE(route(ModelApi::anthropic, "/v1/messages/count_tokens?beta=true").free);
  EXPECT_TRUE(route(ModelApi::openai, "/v1/responses/input_tokens").free);
  EXPECT_TRUE(route(ModelApi::gemini, "/v1beta/models/m:countTokens").free);
  for (ModelApi api : {ModelApi::anthropic, ModelApi::openai, ModelApi::gemini}) {
    for (auto target : {"/v1/models", "/v1/models/some-model", "/v1beta/models?pageSize=5"}) {
      auto found = route_model_request(api, "GET", target);
      ASSERT_TRUE(found) << target;
      EXPECT_TRUE(found.value().free);
    }
  }
}

TEST(ModelCall, WhatNobodyCanCountIsRefused) {
  struct Case {
    ModelApi api;
    std::string_view method, target;
  };
  const Case cases[] = {
      {ModelApi::anthropic, "POST", "/v1/messages/batches"},
      {ModelApi::anthropic, "POST", "/v1/complete"},
      {ModelApi::anthropic, "POST", "/v1/chat/completions"},
      {ModelApi::anthropic, "GET", "/v1/messages"},
      {ModelApi::anthropic, "POST", "/v1/messages/count_tokens/../../messages/batches"},
      {ModelApi::anthropic, "POST", "/v1/messages/batches/%2e%2e/count_tokens"},
      {ModelApi::anthropic, "POST", "/v1//messages"},
      {ModelApi::anthropic, "POST", "https://api.anthropic.com/v1/messages"},
      {ModelApi::anthropic, "POST", "/v1/messages;x"},
      {ModelApi::anthropic, "POST", ""},
      {ModelApi::openai, "POST", "/v1/embeddings"},
      {ModelApi::openai, "POST", "/v1/images/generations"},
      {ModelApi::openai, "GET", "/v1/responses/resp_1"},
      {ModelApi::openai, "GET", "/v1/responses"},
      {ModelApi::openai, "POST", "/v1/models"},
      {ModelApi::openai, "DELETE", "/v1/models/m"},
      {ModelApi::gemini, "POST", "/v1beta/models/m:batchGenerateContent"},
      {ModelApi::gemini, "POST", "/v1beta/models/m:embedContent"},
      {ModelApi::gemini, "POST", "/v1beta/cachedContents"},
      {ModelApi::gemini, "POST", "/v1beta/models/:generateContent"},
      {ModelApi::gemini, "POST", "/v1beta/models/m:countTokens:generateContent"},
      {ModelApi::gemini, "POST", "/upload/v1beta/files"},
      {ModelApi::gemini, "GET", "/v1beta/models/m:generateContent"},
  };
  for (const Case& one : cases) {
    auto found = route_model_request(one.api, one.method, one.target);
    ASSERT_FALSE(found) << one.target;
    EXPECT_EQ(found.error().code(), ErrorCode::permission_denied);
  }
}

TEST(ModelCall, Messages) {
  auto read = request(kMessagesRoute,
                      R"({"model":"claude-x","max_tokens":1024,"stream":true,"system":[{"type":"text",)"
                      R"("text":"\"max_tokens\":1"}],"messages":[{"role":"user","content":"hello"}],)"
                      R"("tools":[{"name":"t","input_schema":{"type":"object","properties":{"max_tokens":)"
                      R"({"type":"integer"}}}},{"type":"bash_20250124","name":"bash"}]})");
  EXPECT_EQ(read.model, "claude-x");
  EXPECT_TRUE(read.stream);
  EXPECT_EQ(read.max_output_tokens, 1024);
  EXPECT_FALSE(read.opaque_input);
  EXPECT_TRUE(read.extras.empty());
  EXPECT_FALSE(read.hides_usage);
}

TEST(ModelCall, ThinkingMayGoBeyondTheLimit) {
  auto read = request(kMessagesRoute,
                      R"({"model":"m","max_tokens":100,"thinking":{"type":"enabled",)"
                      R"("budget_tokens":5000}})");
  EXPECT_EQ(read.max_output_tokens, 5000);
}

TEST(ModelCall, ManyAnswersCostManyTimes) {
  EXPECT_EQ(request(kChatRoute, R"({"model":"m","max_tokens":10,"max_completion_tokens":30,"n":4})")
                .max_output_tokens,
            120);
  EXPECT_EQ(request(kGenerateRoute, R"({"generationConfig":{"maxOutputTokens":7,"candidateCount":3}})")
                .max_output_tokens,
            21);
  EXPECT_EQ(request(kGenerateRoute, R"({"generation_config":{"max_output_tokens":7}})")
                .max_output_tokens,
            7);
  EXPECT_EQ(request(kResponsesRoute, R"({"model":"m","max_output_tokens":9})").max_output_tokens, 9);
  EXPECT_FALSE(request(kResponsesRoute, R"({"model":"m"})").max_output_tokens);
  auto unlimited = request(kChatRoute, R"({"model":"m","n":128})");
  EXPECT_FALSE(unlimited.max_output_tokens);
  EXPECT_EQ(unlimited.answers, 128);
  EXPECT_EQ(request(kChatRoute, R"({"model":"m"})").answers, 1);
}

TEST(ModelCall, MembersThatServersMightReadDifferently) {
  expect_refused(kMessagesRoute, R"({"model":"cheap","model":"dear"})", "twice");
  expect_refused(kMessagesRoute, R"({"model":"cheap","Model":"dear"})", "spelling");
  expect_refused(kMessagesRoute, R"({"model":"cheap","mod\u0065l":"dear"})", "twice");
  expect_refused(kMessagesRoute, R"({"model":"m","max_tokens":1,"Max_Tokens":9})", "spelling");
  expect_refused(kMessagesRoute, R"({"model":"m","maxTokens":1})", "spelling");
  expect_refused(kMessagesRoute, "{\"model\":\"m\",\"max_to\xe2\x84\xaa" "ens\":1}", "unusual name");
  expect_refused(kGenerateRoute,
                 R"({"generationConfig":{"maxOutputTokens":1},"generation_config":{}})", "twice");
  expect_refused(kGenerateRoute,
                 R"({"generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}})");
  expect_refused(kGenerateRoute, R"({"model":"models/another"})", "what the path says");
  EXPECT_EQ(request(kGenerateRoute, R"({"model":"models/gemini-x"})").model, "gemini-x");
}

TEST(ModelCall, LongSpellingsAreSpellings) {
  // Of as many characters as a name may have.
  auto filled = [](std::string begin, const std::string& end) {
    begin.append(64 - begin.size() - end.size(), '_');
    return "\"" + begin + end + "\"";
  };
  expect_refused(kMessagesRoute, R"({"model":"dear",)" + filled("model", "") + R"(:"cheap"})", "spelling");
  expect_refused(kChatRoute, R"({"model":"m",)" + filled("max", "tokens") + ":1}", "spelling");
  expect_refused(kChatRoute,
                 R"({"model":"m","stream":true,"stream_options":{)" + filled("include", "usage") +
                     ":true}}",
                 "spelling");
  expect_refused(kGenerateRoute,
                 R"({"generationConfig":{)" + filled("max", "OutputTokens") + ":1}}", "spelling");
}

TEST(ModelCall, APathMayNameTheModel) {
  auto found = route(ModelApi::openai, "/openai/deployments/dear/chat/completions?api-version=1");
  EXPECT_EQ(found.model, "dear");
  EXPECT_EQ(request(found, R"({"messages":[]})").model, "dear");
  EXPECT_EQ(request(found, R"({"model":"dear"})").model, "dear");
  expect_refused(found, R"({"model":"cheap"})", "what the path says");
  EXPECT_EQ(route(ModelApi::openai, "/engines/dear/chat/completions").model, "dear");
  EXPECT_EQ(route(ModelApi::openai, "/v1/chat/completions").model, "");
  EXPECT_FALSE(route_model_request(ModelApi::openai, "POST", "/deployments/dear/responses/x"));
}

TEST(ModelCall, WhatCannotBeReadIsRefused) {
  for (std::string_view body :
       {"", "null", "[]", "x", R"({"model":"m")", R"({"model":"m"} {})", R"({"model":7})",
        R"({"model":""})", R"({"model":null})", R"({"max_tokens":5})", "{\"model\":\"a b\"}",
        R"({"model":"m","max_tokens":"5"})", R"({"model":"m","max_tokens":-5})",
        R"({"model":"m","max_tokens":1e3})", R"({"model":"m","max_tokens":99999999999999999999})",
        R"({"model":"m","stream":"yes"})", "{\"model\":\"\xff\"}"}) {
    expect_refused(kMessagesRoute, body);
  }
  expect_refused(kMessagesRoute, R"({"model":")" + std::string(300, 'a') + R"("})");
  expect_refused(kMessagesRoute, std::string(100'000, '['));
  std::string many = R"({"model":"m","messages":[0)";
  for (int i = 0; i < 500'001; ++i) many += ",0";
  expect_refused(kMessagesRoute, many + "]}", "too many parts");
  expect_refused(kResponsesRoute, R"({"model":"m","background":true})", "background");
}

TEST(ModelCall, ItMakesNoDifferenceHowABodyIsCut) {
  std::string_view body = R"({"model":"m","max_tokens":9,"tools":[{"type":"web_search_1"}],"messages":)"
                          R"([{"content":[{"type":"image"}]}]})";
  for (size_t cut = 0; cut <= body.size(); ++cut) {
    ModelRequestScan scan(kMessagesRoute);
    scan.feed(body.substr(0, cut));
    scan.feed(body.substr(cut));
    auto read = scan.finish();
    ASSERT_TRUE(read) << cut;
    EXPECT_EQ(read.value().max_output_tokens, 9);
    EXPECT_EQ(read.value().extras, std::vector<std::string>{"web_search_1"});
    EXPECT_TRUE(read.value().opaque_input);
    ModelRequestScan half(kMessagesRoute);
    half.feed(body.substr(0, cut));
    if (cut < body.size()) { EXPECT_FALSE(half.finish()); }
  }
}

TEST(ModelCall, InputThatBytesDoNotBound) {
  for (std::string_view body :
       {R"({"model":"m","messages":[{"content":[{"type":"image","source":{"type":"base64"}}]}]})",
        R"({"model":"m","messages":[{"content":[{"type":"tool_result","content":[{"type":"image"}]}]}]})",
        R"({"model":"m","messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"f"}}]}]})"}) {
    auto read = request(kMessagesRoute, body);
    EXPECT_TRUE(read.opaque_input) << body;
    EXPECT_TRUE(read.extras.empty()) << body;
  }
  EXPECT_TRUE(request(kChatRoute,
                      R"({"model":"m","messages":[{"content":[{"type":"image_url","image_url":)"
                      R"({"url":"data:image/png;base64,AA"}}]}]})")
                  .opaque_input);
  EXPECT_TRUE(request(kResponsesRoute, R"({"model":"m","previous_response_id":"r"})").opaque_input);
  EXPECT_TRUE(request(kGenerateRoute, R"({"contents":[{"parts":[{"inline_data":{"data":"AA"}}]}]})")
                  .opaque_input);
  EXPECT_FALSE(request(kGenerateRoute, R"({"contents":[{"parts":[{"text":"a"}]}]})").opaque_input);
  // Without a type beside it, which some servers do not ask for.
  EXPECT_TRUE(request(kChatRoute, R"({"model":"m","messages":[{"content":[{"image_url":)"
                                  R"({"url":"data:image/png;base64,AA"}}]}]})")
                  .opaque_input);
  EXPECT_TRUE(request(kChatRoute, R"({"model":"m","messages":[{"content":[{"input_audio":)"
                                  R"({"data":"AA"}}]}]})")
                  .opaque_input);
  // What is kept at the provider's, under a name.
  for (std::string_view item : {R"({"id":"msg_1"})", R"({"id":"msg_1","type":null})",
                                R"({"type":"item_reference","id":"msg_1"})"}) {
    std::string body = R"({"model":"m","input":[{"role":"user","content":"a"},)" + std::string(item) + "]}";
    EXPECT_TRUE(request(kResponsesRoute, body).opaque_input) << body;
  }
  EXPECT_FALSE(request(kResponsesRoute,
                       R"({"model":"m","input":[{"id":"msg_1","type":"message","content":"a"},)"
                       R"({"id":"msg_2","role":"user","content":"a"},{"content":"a"}]})")
                   .opaque_input);
}

TEST(ModelCall, WhatReachesOutOrCostsOtherwise) {
  using Extras = std::vector<std::string>;
  auto extras = [](const ModelRoute& route, std::string_view body) {
    return request(route, body).extras;
  };
  EXPECT_EQ(extras(kMessagesRoute,
                   R"({"model":"m","tools":[{"type":"web_search_20250305"},{"type":"web_fetch_1"},)"
                   R"({"type":"web_search_20250305"},{"name":"mine"}]})"),
            (Extras{"web_fetch_1", "web_search_20250305"}));
  EXPECT_EQ(extras(kMessagesRoute, R"({"model":"m","mcp_servers":[{"url":"https://a"}]})"),
            Extras{"mcp_servers"});
  EXPECT_EQ(extras(kMessagesRoute,
                   R"({"model":"m","messages":[{"content":[{"type":"image","source":{"type":"url",)"
                   R"("url":"https://evil.example/?data"}}]}]})"),
            Extras{"url"});
  // What a model wants of the client's own tool is nobody's request.
  EXPECT_EQ(extras(kMessagesRoute,
                   R"({"model":"m","messages":[{"content":[{"type":"tool_use","input":{"source":)"
                   R"({"url":"https://a.example"},"url":"https://b.example"}}]}]})"),
            Extras{});
  EXPECT_EQ(extras(kMessagesRoute, R"({"model":"m","service_tier":"auto","speed":"fast"})"),
            Extras{"speed=fast"});
  EXPECT_EQ(extras(kChatRoute, R"({"model":"m","service_tier":"priority","web_search_options":{}})"),
            (Extras{"service_tier=priority", "web_search_options"}));
  EXPECT_EQ(extras(kChatRoute,
                   R"({"model":"m","messages":[{"content":[{"type":"image_url","image_url":)"
                   R"({"url":"https://evil.example/?data"}}]}]})"),
            Extras{"url"});
  EXPECT_EQ(extras(kResponsesRoute,
                   R"({"model":"m","tools":[{"type":"function"},{"type":"mcp","server_url":"https://a"},)"
                   R"({"type":"code_interpreter"}],"input":[{"content":[{"type":"input_image",)"
                   R"("image_url":"https://a"}]}]})"),
            (Extras{"code_interpreter", "mcp", "url"}));
  EXPECT_EQ(extras(kGenerateRoute,
                   R"({"tools":[{"functionDeclarations":[{"name":"f"}]},{"googleSearch":{}},)"
                   R"({"url_context":{}}],"contents":[{"parts":[{"fileData":{"fileUri":"https://a"}}]}]})"),
            (Extras{"googleSearch", "url", "url_context"}));
  // Tools that come later, in groups, and where a list belongs.
  EXPECT_EQ(extras(kResponsesRoute,
                   R"({"model":"m","input":[{"type":"additional_tools","tools":[{"type":"function"},)"
                   R"({"type":"web_search"},{"type":"namespace","tools":[{"type":"mcp"}]}]}]})"),
            (Extras{"mcp", "web_search"}));
  EXPECT_EQ(extras(kGenerateRoute, R"({"tools":{"google_search":{},"functionDeclarations":[]}})"),
            Extras{"google_search"});
  EXPECT_EQ(extras(kGenerateRoute, R"({"tools":[[{"codeExecution":{}}]]})"), Extras{"codeExecution"});
  expect_refused(kMessagesRoute, R"({"model":"m","tools":{"type":"web_search_1"}})", "must be a list");
  expect_refused(kGenerateRoute, R"({"tools":["googleSearch"]})", "must be a list");
  EXPECT_EQ(extras(kGenerateRoute, R"({"generationConfig":{"responseModalities":"AUDIO"}})"),
            Extras{"modalities=AUDIO"});
  EXPECT_EQ(extras(kGenerateRoute, R"({"generationConfig":{"responseModalities":["TEXT"]}})"), Extras{});
  // Another model than the one that was asked for.
  EXPECT_EQ(extras(kMessagesRoute, R"({"model":"m","fallbacks":[{"model":"dear"}]})"),
            Extras{"fallbacks"});
  EXPECT_EQ(extras(kMessagesRoute, R"({"model":"m","fallbacks":"default"})"), Extras{"fallbacks"});
  EXPECT_EQ(extras(kChatRoute, R"({"model":"m","models":["dear"]})"), Extras{"models"});
  EXPECT_EQ(extras(kMessagesRoute,
                   R"({"model":"m","inference_geo":"us","context_management":{"edits":[)"
                   R"({"type":"clear_tool_uses_20250919"},{"type":"compact_20260112"}]}})"),
            (Extras{"context_management=compact_20260112", "inference_geo=us"}));
  EXPECT_EQ(extras(kMessagesRoute, R"({"model":"m","inference_geo":"global"})"), Extras{});
  EXPECT_EQ(extras(kResponsesRoute, "{\"model\":\"m\",\"tools\":[{\"type\":\"a\\n\\u00e9\"}]}"),
            Extras{"a???"});
}

TEST(ModelCall, AStreamedChatIsAskedForItsUsage) {
  std::string_view body = R"( {"model":"m","stream":true,"messages":[]})";
  EXPECT_TRUE(request(kChatRoute, body).hides_usage);
  std::string asked = with_usage_asked(body);
  EXPECT_FALSE(request(kChatRoute, asked).hides_usage);
  auto object = boost::json::parse(asked).as_object();
  EXPECT_EQ(object["stream_options"].as_object()["include_usage"], boost::json::value(true));
  object.erase("stream_options");
  EXPECT_EQ(boost::json::value(object), boost::json::parse(body));

  EXPECT_FALSE(request(kChatRoute, R"({"model":"m"})").hides_usage);
  expect_refused(kChatRoute, R"({"model":"m","stream":true,"stream_options":{}})", "include_usage");
  expect_refused(kChatRoute, R"({"model":"m","stream":true,"stream_options":null})");
  expect_refused(kChatRoute,
                 R"({"model":"m","stream":true,"stream_options":{"include_usage":false}})");
}

}  // namespace
}  // namespace hako::wire
