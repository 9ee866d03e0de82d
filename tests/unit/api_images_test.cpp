#include <gtest/gtest.h>

#include "api/image_manifest.h"
#include "api/image_name.h"
#include "api/template_names.h"
#include "api/template_recipe.h"

namespace hako::api {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST(ImageName, IsReadAsDockerReadsIt) {
  struct Case {
    std::string text, registry, repository, rest;
  };
  for (const Case& each : {
           Case{"python", "docker.io", "library/python", ":latest"},
           Case{"python:3.12", "docker.io", "library/python", ":3.12"},
           Case{"team/app", "docker.io", "team/app", ":latest"},
           Case{"docker.io/python", "docker.io", "library/python", ":latest"},
           Case{"index.docker.io/a/b:C_d", "docker.io", "a/b", ":C_d"},
           Case{"localhost/x", "localhost", "x", ":latest"},
           Case{"127.0.0.1:5000/x:1", "127.0.0.1:5000", "x", ":1"},
           Case{"Registry.Example:5000/a/b/c/d/e", "registry.example:5000", "a/b/c/d/e", ":latest"},
           Case{"x@" + kDigest, "docker.io", "library/x", "@" + kDigest},
           Case{"r.example/x:tag@" + kDigest, "r.example", "x", "@" + kDigest},
       }) {
    auto name = parse_image_name(each.text);
    ASSERT_TRUE(name) << each.text;
    EXPECT_EQ(name.value().registry, each.registry);
    EXPECT_EQ(name.value().repository, each.repository);
    EXPECT_EQ(name.value().text(), each.registry + "/" + each.repository + each.rest);
  }
}

TEST(ImageName, WhatIsNoNameIsRefused) {
  for (const std::string& text :
       {std::string(""), std::string("a b"), std::string("--help"), std::string("Upper"),
        std::string("r.example/"), std::string("r.example:0/x"), std::string("r.example:99999/x"),
        std::string("r.example:/x"), std::string("x:"), std::string("x:-t"), std::string("x:a/b"),
        std::string("r.example/../x"), std::string("r.example//x"), std::string("a/b/"),
        std::string("user:pw@r.example/x"), std::string("x@sha256:12"), std::string("x@"),
        "x@" + kDigest + "0", "x@sha512:" + std::string(64, 'a'),
        "x@sha256:" + std::string(64, 'A'),
        std::string("[::1]:5000/x"), std::string("http://r.example/x"), std::string("x?y"),
        std::string("x\n"), std::string(300, 'a'), "x:" + std::string(200, 'a')})
    EXPECT_FALSE(parse_image_name(text)) << text;
}

TEST(ImageName, PulledImagesHaveNamesOfTheirOwn) {
  EXPECT_EQ(pulled_name("library/python"), "pulled/python");
  EXPECT_TRUE(clean_template_name(pulled_name("a/" + std::string(200, 'b'))));
  EXPECT_TRUE(clean_tag(pulled_tag(kDigest)));
  EXPECT_TRUE(is_pulled_name("pulled/python"));
  EXPECT_FALSE(is_pulled_name("pulled"));
  EXPECT_FALSE(is_pulled_name("my/pulled/python"));
}

TEST(ImageManifest, LayersAreCountedAndListsFollowed) {
  auto image = parse_image_manifest(R"({"layers":[{"size":10},{"size":32}]})");
  ASSERT_TRUE(image);
  EXPECT_EQ(image.value().layers, 2u);
  EXPECT_EQ(image.value().bytes, 42);
  auto list = parse_image_manifest(R"({"manifests":[
    {"digest":"sha256:bad","platform":{"os":"linux","architecture":"amd64"}},
    {"digest":")" + std::string("sha256:") + std::string(64, 'b') + R"(",
     "platform":{"os":"linux","architecture":"arm64"}},
    {"digest":")" + kDigest + R"(","platform":{"os":"linux","architecture":"amd64"}}]})");
  ASSERT_TRUE(list);
  EXPECT_EQ(list.value().follow, kDigest);
  auto older = parse_image_manifest(R"({"schemaVersion":1,"fsLayers":[]})");
  ASSERT_TRUE(older);
  EXPECT_EQ(older.value().bytes, 0);
}

TEST(ImageManifest, HostileOnesAreErrors) {
  for (const char* text : {"[]", "{", "7", R"({"layers":[1]})", R"({"layers":[{"size":-1}]})",
                           R"({"layers":[{"size":1e300}]})", R"({"layers":[{}]})",
                           R"({"layers":[{"size":9223372036854775807}]})", R"({"manifests":[]})",
                           R"({"manifests":[null,{},{"platform":3}]})"})
    EXPECT_FALSE(parse_image_manifest(text)) << text;
}

TEST(Recipe, LoginsForRegistries) {
  auto parse = [](const std::string& login) {
    return parse_recipe(R"({"fromImage":"r.example/x","fromImageRegistry":)" + login + "}");
  };
  auto good = parse(R"({"type":"registry","username":"me","password":"p:w"})");
  ASSERT_TRUE(good) << good.error().message();
  EXPECT_EQ(good.value().login.username, "me");
  EXPECT_EQ(good.value().login.password, "p:w");
  for (const char* cloud : {R"({"type":"aws"})", R"({"type":"gcp","serviceAccountJson":"{}"})"}) {
    auto refused = parse(cloud);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::unsupported);
  }
  for (const char* wrong :
       {"3", "{}", R"({"type":"registry"})", R"({"type":"registry","username":"a"})",
        R"({"type":"registry","username":"a:b","password":"c"})", R"({"type":"x"})"}) {
    auto refused = parse(wrong);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
  }
}

}  // namespace
}  // namespace hako::api
