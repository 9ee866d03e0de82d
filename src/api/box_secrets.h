// What sandboxes use of secrets: which, where, and what stands for them inside.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/principal.h"
#include "api/sandbox_options.h"
#include "base/async/task.h"
#include "policy/egress.h"
#include "store/async_store.h"
#include "vault/master_key.h"

namespace hako::api {

/// A host where models are called: every sandbox's calls to it end at the gate, which counts them.
struct ModelHost {
  std::string host;  ///< an exact name, lower case
  uint16_t port = 443;
  std::string api;     ///< "anthropic", "openai" or "gemini", as the gate is told
  std::string secret;  ///< the name of the one that goes there, for those it is granted to; or none
};

/// Values of secrets leave this only in material(), for the gate. Errors of all calls are fit for
/// the user. Thread: one executor. Calls may overlap.
class BoxSecrets {
 public:
  /// Without a master key nothing is kept, and nothing can be used.
  BoxSecrets(store::AsyncStore& store, const std::optional<vault::MasterKey>& master,
             std::vector<ModelHost> models = {})
      : store_(store), master_(master), models_(std::move(models)) {}

  bool kept() const { return master_.has_value(); }

  /// What a request asks for, in a new sandbox of `who` or one that runs.
  struct Chosen {
    std::vector<std::string> ids;  ///< of those that it names, in its order
    /// The highest of all of them and of those that its rules name: so confidential is what may
    /// come back by their use.
    policy::Label label = policy::Label::public_data;
  };
  /// `names`: names or ids. `options`: with the rules; those that may name secrets bound to no host
  /// are marked. `box`: the sandbox that it is for, as far as there is one yet: its tenant and agent.
  /// not_found for a secret that does not exist for `who`; permission_denied, with the rule, for one
  /// that is not granted to the sandbox, or not bound to the host of a rule;
  /// unsupported without a master key.
  Task<Result<Chosen>> choose(std::vector<std::string> names, SandboxOptions& options,
                              store::SandboxRecord box, Principal who);

  /// The hosts whose TLS must end at the gate, of the secrets that the sandbox may use by what is
  /// recorded now, of its rules, and of models. Those whose values are not to be had are among them: nothing
  /// passes to these then.
  Task<Result<std::vector<policy::InterceptedHost>>> intercepts(store::SandboxRecord box);

  /// Writes into the body of box.create, box.rollback or a child of box.fork what the guest gets:
  /// the certificate of its own authority, and the variables with placeholders. Nothing without a
  /// master key.
  Task<Result<void>> add_identity(boost::json::object& body, store::SandboxRecord box);

  /// As intercept.get answers. not_found: there is no such sandbox, or nothing of it is intercepted.
  Task<Result<boost::json::object>> material(std::string box);

  /// One secret as a sandbox has it.
  struct Attached {
    store::SecretRecord secret;
    std::string placeholder;  ///< empty without a master key
    policy::Decision usable;  ///< whether it may be used at the moment
  };
  /// Those that it is to use, also those that it may not use any more; and those of models.
  Task<Result<std::vector<Attached>>> attached(store::SandboxRecord box);

 private:
  using Secrets = std::vector<store::SecretRecord>;
  /// All that are kept for its tenant.
  Task<Result<Secrets>> kept_for(std::string tenant);
  /// Those that the sandbox is to use, in the order in which it names them; each once.
  Secrets named_by(const SandboxOptions& options, const store::SandboxRecord& box,
                   const Secrets& kept) const;

  store::AsyncStore& store_;
  const std::optional<vault::MasterKey>& master_;
  const std::vector<ModelHost> models_;
};

/// Whether what is recorded of a sandbox names the secret, by its id or in a rule.
bool names_secret(const SandboxOptions& options, const store::SecretRecord& secret);

}  // namespace hako::api
