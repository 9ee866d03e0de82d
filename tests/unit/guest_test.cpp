#include <gtest/gtest.h>

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "guest/environment.h"
#include "guest/generation.h"
#include "guest/paths.h"
#include "guest/remedies.h"
#include "guest/spawn.h"
#include "guest/users.h"

namespace hako::guest {
namespace {

TEST(Users, AreReadAndMalformedLinesSkipped) {
  auto users = parse_passwd(
      "root:x:0:0:root:/root:/bin/bash\n"
      "\n# comment:x:1:1::/:/\nshort:x:1\nbad:x:minus:1::/:/\nbad:x:1:99999999999::/:/\n"
      "nochange:x:4294967295:1::/:/\n"
      "user:x:1000:1001:A,B:/home/user:/bin/sh");
  ASSERT_EQ(users.size(), 2u);
  EXPECT_EQ(users[0].name, "root");
  EXPECT_EQ(users[1].uid, 1000u);
  EXPECT_EQ(users[1].gid, 1001u);
  EXPECT_EQ(users[1].home, "/home/user");
  EXPECT_EQ(users[1].shell, "/bin/sh");
}

TEST(Groups, ListTheirMembers) {
  auto groups = parse_group("sudo:x:27:user,other\nempty:x:5:\nbroken\n");
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].members, (std::vector<std::string>{"user", "other"}));
  EXPECT_TRUE(groups[1].members.empty());
}

class TemporaryFolder : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/hako-guest-test-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& content) {
    // Through a new file, as programs that change users do.
    std::ofstream(folder_ + "/new") << content;
    std::filesystem::rename(folder_ + "/new", folder_ + "/" + name);
  }
  std::string folder_;
};

using UserDatabaseTest = TemporaryFolder;

TEST_F(UserDatabaseTest, NoticesChanges) {
  write("passwd", "a:x:1:2::/a:/bin/sh\n");
  write("group", "own:x:2:\nextra:x:3:b,a\nother:x:4:b\n");
  UserDatabase users(folder_ + "/passwd", folder_ + "/group");
  auto user = users.find("a");
  ASSERT_TRUE(user);
  EXPECT_EQ(users.groups_of(*user), (std::vector<gid_t>{2, 3}));
  EXPECT_FALSE(users.find("b"));
  EXPECT_EQ(users.group_name(4), "other");
  EXPECT_EQ(users.group_name(99), "99");
  write("passwd", "b:x:9:2::/b:/bin/sh\n");
  EXPECT_FALSE(users.find("a"));
  EXPECT_TRUE(users.find("b"));
  EXPECT_EQ(users.user_name(9), "b");
  std::filesystem::remove(folder_ + "/passwd");
  EXPECT_FALSE(users.find("b"));
}

std::string resolved(std::string_view path, std::string_view workdir = "/work") {
  auto result = resolve_path(path, "/home/u", workdir);
  return result ? result.value() : "error";
}

TEST(Paths, FollowTheContract) {
  EXPECT_EQ(resolved("/a/b"), "/a/b");
  EXPECT_EQ(resolved("a/b"), "/home/u/a/b");
  EXPECT_EQ(resolved("../x/./y//z"), "/home/x/y/z");
  EXPECT_EQ(resolved("~"), "/home/u");
  EXPECT_EQ(resolved("~/a"), "/home/u/a");
  EXPECT_EQ(resolved("~other/a"), "error");
  EXPECT_EQ(resolved(""), "/work");
  EXPECT_EQ(resolved("", ""), "/home/u");
  EXPECT_EQ(resolved(std::string_view("/a\0b", 4)), "error");
  EXPECT_EQ(resolved("/" + std::string(5000, 'a')), "error");
}

TEST(Paths, AreTakenApart) {
  EXPECT_EQ(base_name("/a/b"), "b");
  EXPECT_EQ(base_name("/a/b//"), "b");
  EXPECT_EQ(base_name("/"), "/");
  EXPECT_EQ(directory_name("/a/b"), "/a");
  EXPECT_EQ(directory_name("/a"), "/");
  EXPECT_EQ(directory_name("a"), ".");
  EXPECT_EQ(clean_path("/../a/./b/../c"), "/a/c");
  EXPECT_EQ(clean_path("../a"), "../a");
  EXPECT_EQ(clean_path(""), ".");
}

TEST(Environment, LaterSourcesWin) {
  Identity identity(false);
  boost::json::object init{{"generation", 1},
                           {"sandboxId", "ia"},
                           {"envVars", boost::json::object{{"A", "box"}, {"B", "box"}}}};
  ASSERT_TRUE(identity.apply(init));
  User user{"u", 1, 1, "/home/u", "/bin/sh"};
  auto built = build_environment(user, identity, {{"B", "request"}, {"PATH", "/opt"}});
  auto has = [&](std::string_view variable) {
    return std::count(built.variables.begin(), built.variables.end(), variable) == 1;
  };
  EXPECT_TRUE(has("A=box"));
  EXPECT_TRUE(has("B=request"));
  EXPECT_TRUE(has("HOME=/home/u"));
  EXPECT_TRUE(has("E2B_SANDBOX_ID=ia"));
  EXPECT_TRUE(has("PATH=/opt"));
  EXPECT_EQ(built.search_path, "/opt");
}

TEST(Identity, KeepsWhatIsNotSaid) {
  Identity identity(false);
  ASSERT_TRUE(identity.apply({{"generation", 1},
                              {"accessToken", "t"},
                              {"envVars", boost::json::object{{"A", "1"}}},
                              {"defaultUser", "u"},
                              {"defaultWorkdir", "/w"}}));
  ASSERT_TRUE(identity.apply({{"generation", 2}}));
  EXPECT_EQ(identity.environment().size(), 1u);
  EXPECT_EQ(identity.default_user(), "u");
  EXPECT_EQ(identity.default_workdir(), "/w");
  EXPECT_EQ(identity.access_token(), "") << "that of the machine it was";
  ASSERT_TRUE(identity.apply({{"generation", 3}, {"envVars", boost::json::object()}}));
  EXPECT_TRUE(identity.environment().empty());
}

TEST(Remedies, AreTakenOutByWholeWords) {
  EXPECT_TRUE(has_word("a hako.test_skip_clock=1 b\n", "hako.test_skip_clock=1"));
  EXPECT_TRUE(has_word("hako.test_skip_clock=1\n", "hako.test_skip_clock=1"));
  EXPECT_FALSE(has_word("hako.test_skip_clock=10", "hako.test_skip_clock=1"));
  EXPECT_FALSE(has_word("xhako.test_skip_clock=1", "hako.test_skip_clock=1"));
  EXPECT_FALSE(has_word("", "hako.test_skip_clock=1"));
  EXPECT_FALSE(is_taken_out(Remedy::clock));
}

using GenerationTest = TemporaryFolder;

TEST_F(GenerationTest, IsToldToThoseWhoWait) {
  std::string file = folder_ + "/generation";
  ASSERT_TRUE(tell_generation(9, file.c_str()));
  auto at_once = wait_for_generation(8, file.c_str());
  ASSERT_TRUE(at_once);
  EXPECT_EQ(at_once.value(), 9);
  // One watch, set before the first change, tells of each: the file is never another one.
  std::vector<int64_t> seen;
  std::thread waiting([&] {
    std::optional<int64_t> known = 9;
    while (*known < 12) {
      auto next = wait_for_generation(known, file.c_str());
      if (!next) return;
      known = next.value();
      seen.push_back(*known);
    }
  });
  for (int64_t generation : {10, 11, 12}) {
    ASSERT_TRUE(tell_generation(generation, file.c_str()));
    // The same again is no news.
    ASSERT_TRUE(tell_generation(generation, file.c_str()));
  }
  waiting.join();
  ASSERT_FALSE(seen.empty());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), 12);
}

TEST_F(GenerationTest, IsNotHeldUpByWhatIsInItsPlace) {
  std::string file = folder_ + "/generation";
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  EXPECT_FALSE(tell_generation(1, file.c_str()));
  std::filesystem::remove(file);
  std::filesystem::create_symlink("/dev/full", file);
  EXPECT_FALSE(tell_generation(1, file.c_str()));
  EXPECT_FALSE(wait_for_generation(1, (folder_ + "/nothing").c_str()));
  write("generation", "no number\n");
  EXPECT_FALSE(wait_for_generation(1, file.c_str()));
}

TEST(Identity, RefusesAnOlderGeneration) {
  Identity identity(false);
  ASSERT_TRUE(identity.apply({{"generation", 5}, {"accessToken", "new"}}));
  auto older = identity.apply({{"generation", 4}, {"accessToken", "old"}});
  ASSERT_FALSE(older);
  EXPECT_EQ(older.error().code(), ErrorCode::failed_precondition);
  EXPECT_EQ(identity.access_token(), "new");
  EXPECT_TRUE(identity.apply({{"generation", 5}})) << "the same one may be told again";
  EXPECT_FALSE(identity.apply({{"accessToken", "x"}}));
  EXPECT_FALSE(identity.apply({{"generation", 6}, {"envVars", boost::json::object{{"A", 1}}}}));
  EXPECT_EQ(identity.generation(), 5);
}

using FindProgram = TemporaryFolder;

TEST_F(FindProgram, SearchesLikeTheShell) {
  write("tool", "#!/bin/sh\n");
  write("data", "");
  std::filesystem::permissions(folder_ + "/tool", std::filesystem::perms(0755));
  auto found = find_program("tool", "/nowhere:" + folder_, "/");
  ASSERT_TRUE(found);
  EXPECT_EQ(found.value(), folder_ + "/tool");
  EXPECT_TRUE(find_program("./tool", "", folder_));
  EXPECT_FALSE(find_program("data", folder_, "/"));
  auto missing = find_program("nothing", folder_, "/");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(missing.error().message(), "command 'nothing' not found");
  auto plain = find_program(folder_ + "/data", "", "/");
  ASSERT_FALSE(plain);
  EXPECT_EQ(plain.error().code(), ErrorCode::permission_denied);
}

}  // namespace
}  // namespace hako::guest
