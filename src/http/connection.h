// Inside src/http only: the server's side of one connection.
#pragma once

#include <boost/asio/ip/tcp.hpp>

#include <optional>

#include "http/inbound.h"
#include "http/seats.h"
#include "http/server.h"

namespace hako::http::detail {

/// Reads requests and is the Exchange of each, one after another: nothing is allocated per request
/// beyond what the head itself needs.
class Connection final : public Exchange {
 public:
  /// `seat`, if there is one, outlives this.
  Connection(Stream stream, const ServerLimits& limits, Seats::Seat* seat = nullptr);

  void tell_of_malformed(Malformed malformed) { malformed_ = std::move(malformed); }
  /// Serves until the connection ends or is taken away.
  Task<void> run(const Handler& handler);

  const RequestHead& head() const override { return head_; }
  std::string peer_address() const override;
  uint16_t peer_port() const override;
  bool connected() const override;
  bool is_encrypted() const override { return stream_.layer() != nullptr; }
  Task<Result<size_t>> read_some(asio::mutable_buffer into) override;
  const Fields& trailers() const override { return inbound_.trailers(); }
  Task<Result<std::string>> read_body(size_t limit) override;
  Task<Result<void>> respond(Response response) override;
  Task<Result<void>> begin(ResponseHead head) override;
  Task<Result<void>> begin_with(ResponseHead head, asio::const_buffer first) override;
  Task<Result<void>> write(asio::const_buffer piece) override;
  Task<Result<void>> end_with(asio::const_buffer last) override;
  Task<Result<void>> end() override;
  void abort() override;
  bool responded() const override { return stage_ != Stage::waiting; }
  void vouch() override;
  Task<void> closed_by_client() override;
  void when_heard(asio::cancellation_slot cancel, std::function<void()> then) override;
  bool client_gone() const override;
  Raw take_connection() override;

 private:
  enum class Stage { waiting, streaming, done };
  enum class Body { none, counted, chunked, until_close };

  /// Nothing for unix sockets, and once there is none.
  std::optional<asio::ip::tcp::endpoint> peer() const;
  int handle() const;
  /// As in <netinet/tcp.h>; nothing of other sockets than TCP's.
  std::optional<int> tcp_state() const;
  Task<bool> next_request();
  Task<void> refuse(unsigned status, std::string_view message);
  bool take_head();
  Task<void> answer_fault();
  void judge_fault(std::exception_ptr fault, bool cancelled);
  Task<bool> finish_exchange();
  Task<bool> drain_request();

  /// Puts the response's head into out_ and decides how the body is framed.
  void compose_head(unsigned status, const Fields& fields, std::optional<uint64_t> length);
  Task<Result<void>> send(std::span<const asio::const_buffer> pieces);
  Result<void> count(size_t bytes);
  bool is_broken() const { return broken_ || sending_; }
  bool expects_continue() const { return expects_continue_ && !sent_continue_; }

  Stream stream_;
  const ServerLimits limits_;
  Malformed malformed_;
  Seats::Seat* seat_;
  Watchdog watchdog_;
  Inbound<true> inbound_;
  RequestHead head_;
  unsigned version_ = 11;
  bool expects_continue_ = false;
  bool sent_continue_ = false;

  std::string out_;
  Stage stage_ = Stage::waiting;
  Body body_ = Body::none;
  uint64_t left_ = 0;  ///< of a counted body
  bool close_after_ = false;
  bool broken_ = false;   ///< nothing more can be sent
  bool sending_ = false;  ///< something is on its way; for ever, if that was cancelled half-way
  bool taken_ = false;
};

}  // namespace hako::http::detail
