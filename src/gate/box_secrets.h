// What the api tells the gate about one box: which hosts to look into, and what to put in there.
#pragma once

#include <boost/json/object.hpp>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gate/placeholder_search.h"
#include "tls/authority.h"
#include "wire/model_call.h"

namespace hako::gate {

/// Where a placeholder becomes a value. Wiped when it goes.
struct SecretSwap {
  enum class Kind {
    header,  ///< the whole value of one header is before + placeholder + after
    bearer,  ///< Authorization: Bearer
    basic,   ///< the password of Authorization: Basic
  };
  std::string secret;  ///< its name
  std::string placeholder, value;
  Kind kind = Kind::header;
  std::string header;         ///< of header, as it was given
  std::string before, after;  ///< of header
  std::string user;           ///< of basic: who it must be for; empty: anybody

  SecretSwap() = default;
  SecretSwap(SecretSwap&&) = default;
  SecretSwap& operator=(SecretSwap&&) = default;
  ~SecretSwap();
};

/// A header that each request to a host gets.
struct FixedHeader {
  std::string header, value;
};

/// Of the servers of one host that get the same.
struct HostSecrets {
  std::string host;
  std::set<uint16_t> ports;
  std::vector<FixedHeader> always;
  std::vector<SecretSwap> swaps;
  std::optional<wire::ModelApi> model;  ///< whose API it speaks, if it has models to call
  /// Of one with models: it is called with secrets that are kept here, and with no key that a box has brought.
  bool by_secret = false;
  /// What no answer of the host may bring to the box, and what it gets instead: as long.
  PatternSet values;
  std::vector<std::string> masks;
};

/// Of one box, at one time. Only ever in memory.
struct BoxSecrets {
  explicit BoxSecrets(tls::Authority signer) : authority(std::move(signer)) {}

  std::string revision;
  tls::Authority authority;  ///< whom the box trusts
  std::map<std::string, std::vector<HostSecrets>> hosts;  ///< no port of a host is in two of them
  PlaceholderSet placeholders;  ///< of the box, also those that are for no host here

  /// Null if it is none that is intercepted.
  const HostSecrets* host(const std::string& name, uint16_t port) const;
};
using BoxSecretsRef = std::shared_ptr<BoxSecrets>;

/// Reads the answer to intercept.get. invalid_argument names what is wrong, never a value.
Result<BoxSecretsRef> parse_box_secrets(const boost::json::object& body);

}  // namespace hako::gate
