// Who this machine is. A clone is given a new identity before anyone may use it.
#pragma once

#include <boost/json/object.hpp>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "guest/remedies.h"
#include "wire/process.h"

namespace hako::guest {

class Identity {
 public:
  /// `owns_machine`: whether this is PID 1 of a machine, whose random generator, clock and names
  /// follow. Otherwise only what the daemon itself serves changes.
  explicit Identity(bool owns_machine) : owns_machine_(owns_machine) {}

  /// Takes the body of POST /init (docs/internal-messages.md) and puts what it says of this machine
  /// into effect in the order written there. Errors: invalid_argument; failed_precondition (older
  /// generation); else that of the failed step, after which the machine must not be used.
  Result<void> apply(const boost::json::object& init);

  int64_t generation() const { return generation_; }
  const std::string& sandbox_id() const { return sandbox_id_; }
  const std::string& template_id() const { return template_id_; }
  /// Empty when requests need none.
  const std::string& access_token() const { return access_token_; }
  const wire::Environment& environment() const { return environment_; }
  const std::string& default_user() const { return default_user_; }
  /// Whether the machine trusts an authority of its own, and programs are to be told where it is.
  bool has_authority() const { return has_authority_; }
  /// Empty for the user's home.
  const std::string& default_workdir() const { return default_workdir_; }
  /// Whether a test has taken `remedy` out, and this is not the machine that clones are made from.
  bool stays_as_it_was(Remedy remedy) const;

 private:
  Result<void> apply_to_machine(const boost::json::object& init);
  static Result<void> set_names(const std::string& hostname, const std::string& machine_id,
                                const std::string& boot_id);

  bool owns_machine_;
  int64_t generation_ = -1;
  std::string sandbox_id_, template_id_, access_token_;
  wire::Environment environment_;
  std::string default_user_ = "user";
  std::string default_workdir_;
  bool has_authority_ = false;
};

/// What boot prepares so that apply() finds everything in place: the files that apply() rewrites,
/// and a file of ours in place of the kernel's boot id, which must never be read before a snapshot.
Result<void> prepare_identity_files();

}  // namespace hako::guest
