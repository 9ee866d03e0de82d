// Who may ask for what, and that the rest does not exist for them.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/api_matrix.h"
#include "support/api_walls.h"
#include "support/run_task.h"

namespace hako::test {
namespace {

class MatrixTest : public ::testing::Test {
 protected:
  std::vector<std::string> problems() {
    std::vector<std::string> found;
    run_on(lab_.loop, collect(found));
    return found;
  }

 private:
  Task<void> collect(std::vector<std::string>& found) {
    lab_.config.max_boxes = 10'000;
    co_await lab_.start();
    std::exception_ptr fault;
    try {
      found = co_await run_matrix(lab_);
    } catch (...) {
      fault = std::current_exception();
    }
    co_await lab_.stop();
    if (fault) std::rethrow_exception(fault);
  }

  ApiLab lab_;
};

TEST_F(MatrixTest, EveryEndpointAnswersEachCallerAsThePolicySays) {
  for (const std::string& problem : problems()) ADD_FAILURE() << problem;
}

struct Break {
  api::Wall wall;
  std::string seen;  ///< what the matrix then says, among others
};

/// Without one of the walls the same test must see the break.
class WithoutOne : public MatrixTest, public ::testing::WithParamInterface<Break> {};

TEST_P(WithoutOne, TheBreakIsSeen) {
  WithoutWall without(GetParam().wall);
  std::vector<std::string> found = problems();
  auto is_it = [](const std::string& problem) {
    return problem.find(GetParam().seen) != std::string::npos;
  };
  EXPECT_TRUE(std::any_of(found.begin(), found.end(), is_it)) << found.size() << " other breaks";
}

INSTANTIATE_TEST_SUITE_P(
    Walls, WithoutOne,
    ::testing::Values(
        Break{api::Wall::actions, "delete /sandboxes/{sandboxID} by viewer: changes records"},
        Break{api::Wall::scope_of_one, "get /sandboxes/{sandboxID} by other tenant: gives 200"},
        Break{api::Wall::scope_of_lists, "get /v2/sandboxes by other agent: shows "},
        Break{api::Wall::templates, "get /templates/{templateID}/tags by other tenant: gives 200"},
        Break{api::Wall::expiry, "get /v1/info by expired token: gives "},
        Break{api::Wall::revocation, "get /v1/info by revoked token: gives 200"}));

}  // namespace
}  // namespace hako::test
