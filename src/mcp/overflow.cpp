#include "mcp/overflow.h"

#include "base/encoding.h"

namespace hako::mcp {
namespace {

constexpr std::chrono::seconds kPieceTime{30};

}  // namespace

Overflow::Overflow(Api& api, std::string box, std::string user, std::string path)
    : api_(api), box_(std::move(box)), user_(std::move(user)), path_(std::move(path)) {}

Task<Result<void>> Overflow::begin() {
  HAKO_CO_TRY(auto client, co_await api_.connect());
  client_.emplace(std::move(client));
  std::string target = "/files?path=" + percent_encode(path_);
  if (!user_.empty()) target += "&username=" + percent_encode(user_);
  http::Request request = api_.prepare_for(box_, "", http::Verb::post, std::move(target));
  request.fields.set(http::Field::content_type, "application/octet-stream");
  co_return co_await client_->begin(std::move(request));
}

Task<Result<void>> Overflow::end() {
  HAKO_CO_TRYV(co_await client_->finish());
  HAKO_CO_TRY(auto head, co_await client_->read_head());
  if (head.status == 200) co_return ok();
  std::string body(4096, '\0');
  auto n = co_await client_->read_some(asio::buffer(body));
  body.resize(n ? n.value() : 0);
  co_return error_of(head.status, body);
}

Task<void> Overflow::add(std::string_view bytes) {
  if (!problem_.empty() || bytes.empty()) co_return;
  Result<void> done = ok();
  if (!begun_) {
    begun_ = true;
    auto beginning = begin();
    done = co_await with_deadline(kPieceTime, std::move(beginning));
  }
  if (done && written_ + bytes.size() > kMost) {
    problem_ = "only the first " + std::to_string(written_) + " bytes are kept";
    co_return;
  }
  if (done) {
    auto writing = client_->write(asio::buffer(bytes.data(), bytes.size()));
    done = co_await with_deadline(kPieceTime, std::move(writing));
    written_ += bytes.size();
  }
  if (done) co_return;
  // A box that refuses a file says so and closes: the words are worth more than that.
  if (client_) {
    auto ending = end();
    auto told = co_await with_deadline(kPieceTime, std::move(ending));
    if (!told && told.error().code() != ErrorCode::unavailable) done = told.error();
  }
  client_.reset();
  problem_ = "the rest could not be kept: " + done.error().message();
}

Task<void> Overflow::finish() {
  if (!client_) co_return;
  auto ending = end();
  auto done = co_await with_deadline(kPieceTime, std::move(ending));
  client_.reset();
  finished_ = bool(done);
  if (!done && problem_.empty())
    problem_ = "the rest could not be kept: " + done.error().message();
}

}  // namespace hako::mcp
