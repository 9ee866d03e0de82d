#include <gtest/gtest.h>

#include "api/template_log.h"
#include "api/template_names.h"
#include "api/template_recipe.h"

namespace hako::api {
namespace {

using Texts = std::vector<std::string>;

TEST(TemplateNames, TagsAndPartsAreTakenApart) {
  auto plain = parse_template_reference("My-App");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain.value().name, "my-app");
  EXPECT_EQ(plain.value().tag, std::nullopt);
  auto full = parse_template_reference("team/app_1:v1.0");
  ASSERT_TRUE(full);
  EXPECT_EQ(full.value().name, "team/app_1");
  EXPECT_EQ(full.value().tag, "v1.0");
  for (const char* wrong : {"", ":tag", "name:", "a:b:c", "../x", "a//b", "/a", "a/", "a b", "-a",
                            "a/b/c/d/e", "\xc3\xa4", "a:b/c"})
    EXPECT_FALSE(parse_template_reference(wrong)) << wrong;
  EXPECT_FALSE(parse_template_reference(std::string(129, 'a')));
}

TEST(TemplateNames, TagsAreNotRepeated) {
  EXPECT_EQ(join_tags(std::nullopt, {}).value(), Texts{"default"});
  EXPECT_EQ(join_tags("v1", {"latest", "v1"}).value(), (Texts{"v1", "latest"}));
  EXPECT_FALSE(join_tags(std::nullopt, {":x"}));
  EXPECT_FALSE(join_tags(std::nullopt, {""}));
}

TEST(TemplateNames, ImagesLoseTheirUsualRegistry) {
  for (const char* text : {"python:3.11", "library/python:3.11", "docker.io/library/python:3.11"}) {
    auto image = parse_image_reference(text);
    ASSERT_TRUE(image) << text;
    EXPECT_EQ(image.value().name, "python");
    EXPECT_EQ(image.value().tag, "3.11");
  }
  auto other = parse_image_reference("registry.example.com:5000/group/image");
  ASSERT_TRUE(other);
  EXPECT_EQ(other.value().name, "registry.example.com-5000/group/image");
  EXPECT_EQ(other.value().tag, std::nullopt);
  EXPECT_FALSE(parse_image_reference("python@sha256:abc"));
}

TEST(Recipe, WhatTheClientsSend) {
  auto recipe = parse_recipe(R"({"fromTemplate":"base","force":false,"startCmd":"run",
    "steps":[{"type":"COPY","args":["a","b","",""],"filesHash":"ff","force":true},
             {"type":"ENV","args":["A","b"],"force":false}]})");
  ASSERT_TRUE(recipe) << recipe.error().message();
  EXPECT_EQ(recipe.value().from_template, "base");
  EXPECT_EQ(recipe.value().start_cmd, "run");
  ASSERT_EQ(recipe.value().steps.size(), 2u);
  EXPECT_EQ(recipe.value().steps[0].files_hash, "ff");
  EXPECT_TRUE(recipe.value().steps[0].force);
  EXPECT_EQ(describe_step(recipe.value().steps[0]), "COPY a b");
}

TEST(Recipe, WrongOnesNameTheirField) {
  struct Case {
    const char* body;
    const char* message;
  };
  const Case cases[] = {
      {R"({"fromTemplate":"a","fromImage":"b"})", "fromImage and fromTemplate exclude each other"},
      {R"({"steps":[{"type":"EXPOSE","args":["1"]}]})",
       "steps[0].type must be RUN, COPY, ENV, WORKDIR or USER"},
      {R"({"steps":[{"type":"RUN","args":[]}]})",
       "steps[0].args has a wrong number of entries for RUN"},
      {R"({"steps":[{"type":"ENV","args":["A","1","B"]}]})",
       "steps[0].args must be names and values in turn"},
      {R"({"steps":[{"type":"ENV","args":["A=B","1"]}]})",
       "steps[0].args holds what is no variable's name"},
      {R"({"steps":[1]})", "steps[0] must be an object"},
      {R"({"steps":{}})", "steps must be an array"},
  };
  for (const Case& each : cases) {
    auto recipe = parse_recipe(each.body);
    ASSERT_FALSE(recipe) << each.body;
    EXPECT_EQ(recipe.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(recipe.error().message(), each.message);
  }
}

RecipeStep step(StepKind kind, Texts args, std::string files = "") {
  RecipeStep made;
  made.kind = kind;
  made.args = std::move(args);
  made.files_hash = std::move(files);
  return made;
}

TEST(Recipe, StepsChangeWhatFollows) {
  StepContext context;
  apply_step(step(StepKind::env, {"A", "x", "B", "${A}y"}), context);
  apply_step(step(StepKind::workdir, {"/srv/$A"}), context);
  apply_step(step(StepKind::workdir, {"deep/../er"}), context);
  apply_step(step(StepKind::user, {"worker:group"}), context);
  apply_step(step(StepKind::run, {"cd /; USER=other"}), context);
  EXPECT_EQ(context.envs.at("B"), "xy");
  EXPECT_EQ(context.workdir, "/srv/x/er");
  EXPECT_EQ(context.user, "worker");
}

TEST(Recipe, VariablesAreExpandedOnce) {
  std::map<std::string, std::string> envs = {{"A", "$B"}, {"B", "b"}};
  EXPECT_EQ(expand("$A ${B}s \\$A $C ${ ${B $", envs), "$B bs $A  ${ ${B $");
  EXPECT_EQ(expand("/x:$PATH", envs).substr(0, 18), "/x:/usr/local/sbin");
  std::string large(60000, 'x');
  envs["L"] = large;
  EXPECT_LE(expand("$L$L$L$L$L$L", envs).size(), size_t{64} << 10);
}

TEST(Recipe, PathsAreResolvedByName) {
  EXPECT_EQ(absolute_path("a/./b/", "/w"), "/w/a/b");
  EXPECT_EQ(absolute_path("../../..", "/w"), "/");
  EXPECT_EQ(absolute_path("/", "/w"), "/");
  EXPECT_EQ(fixed_part("folder/*.txt"), "folder");
  EXPECT_EQ(fixed_part("./a/b/"), "a/b");
  EXPECT_EQ(fixed_part("**/x"), ".");
}

TEST(Recipe, EqualBeginningsHaveEqualKeys) {
  std::vector<RecipeStep> one = {step(StepKind::run, {"a"}), step(StepKind::copy, {"f", "t"}, "h"),
                                 step(StepKind::run, {"b"})};
  auto two = one;
  two[2].args = {"c"};
  std::map<std::string, std::string> digests = {{"h", "digest"}};
  constexpr auto kPublic = policy::Label::public_data;
  auto keys = layer_keys({"base@1", "default", kPublic}, one, digests);
  auto others = layer_keys({"base@1", "default", kPublic}, two, digests);
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_EQ(keys[0].size(), 64u);
  EXPECT_EQ(keys[1], others[1]);
  EXPECT_NE(keys[2], others[2]);
  EXPECT_NE(keys[0], layer_keys({"base@2", "default", kPublic}, one, digests)[0]);
  EXPECT_NE(keys[0], layer_keys({"base@1", "default", policy::Label::internal}, one, digests)[0]);
  EXPECT_NE(keys[0], layer_keys({"base@1", "acme", kPublic}, one, digests)[0]);
  // What a client calls its files is no part of it; what they hold is.
  auto renamed = one;
  renamed[1].files_hash = "other";
  std::map<std::string, std::string> same = {{"other", "digest"}}, changed = {{"h", "new"}};
  EXPECT_EQ(layer_keys({"base@1", "default", kPublic}, renamed, same), keys);
  EXPECT_NE(layer_keys({"base@1", "default", kPublic}, one, changed)[1], keys[1]);
  // Arguments do not run together.
  EXPECT_NE(layer_keys({"b", "default", kPublic}, {step(StepKind::run, {"a", "b"})}, {}),
            layer_keys({"b", "default", kPublic}, {step(StepKind::run, {"a b"})}, {}));
}

TEST(Recipe, ContextsTravel) {
  StepContext context;
  context.user = "root";
  context.envs = {{"A", "b"}};
  auto back = parse_context(context_json(context));
  ASSERT_TRUE(back);
  EXPECT_EQ(back.value().user, "root");
  EXPECT_EQ(back.value().envs, context.envs);
  boost::json::object wrong;
  wrong["envs"] = 5;
  EXPECT_FALSE(parse_context(wrong));
}

std::vector<std::string> messages(const boost::json::array& entries) {
  std::vector<std::string> all;
  for (const auto& entry : entries) all.emplace_back(entry.at("message").as_string());
  return all;
}

TEST(TemplateLog, OutputBecomesLines) {
  TemplateLog log;
  log.add_output(false, "fir", "p", "1");
  log.add_output(true, "err\n", "p", "1");
  log.add_output(false, "st\r\nsec\xff", "p", "1");
  log.flush_output("p", "1");
  EXPECT_EQ(messages(log.entries()),
            (Texts{"[p] [stderr]: err", "[p] [stdout]: first", "[p] [stdout]: sec?"}));
  EXPECT_EQ(log.entries().at(0).at("level"), "warn");
  EXPECT_EQ(log.entries().at(1).at("step"), "1");
}

TEST(TemplateLog, IsBoundedButTellsHowItEnded) {
  TemplateLog log;
  std::string line(TemplateLog::kLongestLine * 2, 'x');
  for (int i = 0; i < 5000; ++i) log.add("info", line, "1");
  log.add("error", "the end", "1");
  size_t bytes = 0;
  for (const auto& text : messages(log.entries())) bytes += text.size();
  EXPECT_LE(bytes, TemplateLog::kMostBytes + TemplateLog::kLongestLine + 100);
  EXPECT_EQ(log.entries().back().at("message"), "the end");
  log.add_output(false, line, "p", "1");  // one line without an end
  log.flush_output("p", "1");
}

TEST(TemplateLog, IsGivenInParts) {
  TemplateLog log;
  for (int i = 0; i < 5; ++i) log.add("info", std::to_string(i), i < 3 ? "1" : "2");
  EXPECT_EQ(messages(TemplateLog::slice(log.entries(), 1, 2)), (Texts{"1", "2"}));
  EXPECT_EQ(messages(TemplateLog::slice(log.entries(), 4, 9)), Texts{"4"});
  EXPECT_EQ(messages(TemplateLog::slice(log.entries(), 9, 9)), Texts{});
  EXPECT_EQ(messages(TemplateLog::tail(log.entries(), "1", 2)), (Texts{"1", "2"}));
}

}  // namespace
}  // namespace hako::api
