// What the tests of pausing share.
#pragma once

#include "support/api_fixture.h"

namespace hako::test {

inline Task<Reply> pause(ApiLab& lab, std::string id, std::string body = {}) {
  return lab.ask(http::Verb::post, "/sandboxes/" + id + "/pause", body);
}

inline Task<Reply> connect(ApiLab& lab, std::string id, std::string body = R"({"timeout":60})") {
  return lab.ask(http::Verb::post, "/v2/sandboxes/" + id + "/connect", body);
}

inline Task<std::string> state_of(ApiLab& lab, std::string id) {
  auto detail = co_await lab.ask(http::Verb::get, "/sandboxes/" + id);
  if (detail.status != 200) co_return "status " + std::to_string(detail.status);
  co_return member(detail.body, "state");
}

}  // namespace hako::test
