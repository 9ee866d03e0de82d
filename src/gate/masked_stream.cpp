#include "gate/masked_stream.h"

#include <cstring>

namespace hako::gate {
namespace {

using boost::system::error_code;

class MaskedLayer final : public http::Stream::Layer {
 public:
  MaskedLayer(std::unique_ptr<Layer> below, BoxSecretsRef secrets, AnswerMask mask)
      : below_(std::move(below)), secrets_(std::move(secrets)), mask_(std::move(mask)) {}

  Task<error_code> send(http::Stream::Socket& socket,
                        std::span<const asio::const_buffer> pieces) override {
    co_return co_await below_->send(socket, pieces);
  }

  Task<error_code> receive(http::Stream::Socket& socket, asio::mutable_buffer into,
                           size_t& count) override {
    while (taken_ == ready_.size()) {
      if (ended_) co_return ended_;
      size_t got = 0;
      ended_ = co_await below_->receive(socket, into, got);
      // An empty piece is the end, and brings what was waiting.
      ready_ = mask_.pass({static_cast<const char*>(into.data()), ended_ ? 0 : got});
      taken_ = 0;
    }
    count = std::min(into.size(), ready_.size() - taken_);
    std::memcpy(into.data(), ready_.data() + taken_, count);
    taken_ += count;
    co_return error_code();
  }

  Task<void> finish(http::Stream::Socket& socket, http::Ending ending) override {
    co_await below_->finish(socket, ending);
  }

 private:
  std::unique_ptr<Layer> below_;
  BoxSecretsRef secrets_;
  AnswerMask mask_;
  std::string ready_;
  size_t taken_ = 0;
  error_code ended_;
};

}  // namespace

void mask_stream(http::Stream& stream, std::string& pending, BoxSecretsRef secrets,
                 const HostSecrets& host) {
  AnswerMask mask(host);
  if (!pending.empty()) pending = std::string(mask.pass(pending));
  stream.set_layer(
      std::make_unique<MaskedLayer>(stream.take_layer(), std::move(secrets), std::move(mask)));
}

}  // namespace hako::gate
