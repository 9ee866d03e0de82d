// Each check on what passes to hosts with secrets is taken away in turn, to see that it was needed.
#include "support/gate_lab_intercept.h"
#include "support/gate_without_wall.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;

/// What gets through of that which must not.
struct SecretBreaks {
  bool misplaced = false;  ///< a placeholder where it does not belong
  bool echoed = false;     ///< a secret in the box
  bool fronted = false;    ///< a request for another host, with a secret
  bool uncounted = false;  ///< a call of a model that nobody has reserved
  bool operator==(const SecretBreaks&) const = default;
};

class InterceptWallsTest : public WithoutWall<InterceptTest, SecretBreaks> {
 protected:
  Task<void> try_everything(SecretBreaks& breaks) override {
    std::string key = std::string("-H 'x-api-key: ") + kPlaceholder + "' ";
    auto honest = co_await curl(key + "https://web.example/");
    EXPECT_EQ(honest.output, "fine\n");
    auto body = co_await curl(std::string("-d ") + kPlaceholder + " https://web.example/");
    breaks.misplaced = arrived(kPlaceholder);
    auto echo = co_await curl(key + "https://web.example/echo");
    breaks.echoed = echo.output.find(kValue) != echo.output.npos;
    auto fronted = co_await curl(key + "-H 'Host: evil.example' https://web.example/");
    breaks.fronted = seen.back().fields["Host"] == "evil.example";
    broker_->boxes[kBoxName]["hosts"].as_array()[0].as_object()["model"] =
        boost::json::object{{"api", "anthropic"}};
    broker_->refusal = Error(ErrorCode::resource_exhausted, "all is spent");
    broker_->changed(kBoxName);
    co_await sleep_for(50ms);
    size_t before = seen.size();
    auto call = co_await curl(
        key + "-d '{\"model\":\"claude-x\",\"max_tokens\":9,\"messages\":[]}' "
              "https://web.example/v1/messages");
    breaks.uncounted = seen.size() > before;
  }
};

TEST_F(InterceptWallsTest, nothing_breaks_with_all_of_them) {
  EXPECT_EQ(without("none"), SecretBreaks());
}

TEST_F(InterceptWallsTest, without_the_search_for_placeholders) {
  EXPECT_EQ(without("placeholders"), (SecretBreaks{.misplaced = true}));
}

TEST_F(InterceptWallsTest, without_the_masks) {
  EXPECT_EQ(without("echoes"), (SecretBreaks{.echoed = true}));
}

TEST_F(InterceptWallsTest, without_the_look_at_hosts) {
  EXPECT_EQ(without("host_header"), (SecretBreaks{.fronted = true}));
}

TEST_F(InterceptWallsTest, without_the_count) {
  EXPECT_EQ(without("counted"), (SecretBreaks{.uncounted = true}));
}

}  // namespace
}  // namespace hako::test
