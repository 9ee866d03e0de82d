// What goes out of sandboxes that run: changes of their rules, labels that rise, links.
#pragma once

#include <map>
#include <string>

#include "api/box_secrets.h"
#include "api/egress_policy.h"
#include "api/grants.h"
#include "api/sandboxes.h"
#include "api/tenants.h"
#include "base/async/turn_queue.h"

namespace hako::api {

/// A link as it was asked for. Empty name: "<to>.box".
struct LinkRequest {
  std::string from;
  std::string to;
  uint16_t port = 0;
  std::string name;
};

/// {from, to, port, name?}. invalid_argument names the field.
Result<LinkRequest> parse_link(std::string_view body);

/// Changes are made one after another, as labels and links concern two sandboxes at once. What a
/// change forbids is cut at the gate before the change is written down, and before it is answered.
/// From before the node is told until it is written down a sandbox is in doubt: where one of the
/// two fails, or we do, it may have what its record does not say, more or less, until
/// push_doubtful() makes the node do what the record says. No label rises while another sandbox of its
/// tenant is in doubt, as it may have a link to the one that rises.
/// Of a paused sandbox only the record changes: it goes on with what that says.
/// Errors of all calls are fit for the user, as those of Sandboxes; permission_denied and
/// failed_precondition name the rule. Thread: one executor.
class EgressControl {
 public:
  static constexpr size_t kMostLinks = 64;  ///< from one sandbox

  /// A label has risen from `from` to what `record` says.
  using Raised =
      std::function<void(const store::SandboxRecord& record, policy::Label from, const Principal& who)>;

  /// Who may reach a sandbox, and how, is what `record` says now.
  using Written = std::function<void(const store::SandboxRecord& record)>;

  EgressControl(const policy::EgressPlatform& platform, store::AsyncStore& store, NodeLink& node,
                Sandboxes& sandboxes, BoxSecrets& secrets, Raised raised, Written written)
      : platform_(platform),
        store_(store),
        node_(node),
        sandboxes_(sandboxes),
        secrets_(secrets),
        raised_(std::move(raised)),
        written_(std::move(written)) {}

  /// Takes over new rules for what goes out of it; `body` as update_network() of sandbox_options.h
  /// reads it. permission_denied if they ask in our words for what its label or the operator
  /// forbids.
  Task<Result<void>> update_network(std::string id, Principal who, std::string body);

  /// From now on the sandbox uses these secrets, and no others; what its programs have in their
  /// environment stays. The record as it is then. Errors besides those of BoxSecrets::choose():
  /// permission_denied (rule secret.label) where its label is lower than one of theirs.
  Task<Result<store::SandboxRecord>> set_secrets(std::string id, Principal who,
                                                 std::vector<std::string> names);

  /// Data with this label is about to go in. Closes what the label forbids, links included, then
  /// writes the label down. The record as it is then.
  /// What was given to those without clearance for it goes, and their connections are cut.
  /// failed_precondition: it has a higher label (unless `at_least`), or is open to everybody.
  /// permission_denied: `who` is not cleared for it. unavailable: another of the tenant stays in doubt.
  Task<Result<store::SandboxRecord>> raise_label(std::string id, Principal who, policy::Label label,
                                                 bool at_least);

  /// Works at once. permission_denied for sandboxes of two agents, or with two labels;
  /// already_exists; resource_exhausted.
  Task<Result<store::LinkRecord>> add_link(LinkRequest request, Principal who);
  /// Of sandboxes that exist for `who`.
  Task<Result<std::vector<store::LinkRecord>>> list_links(Principal who);
  Task<Result<void>> remove_link(std::string link, Principal who);

  /// Lets `who` into the sandbox, as far as they may: `record` with their grant, which the gate
  /// knows by then. resource_exhausted, with Room::if_free also where another would have to go;
  /// unauthenticated if their key has changed meanwhile.
  Task<Result<store::SandboxRecord>> give_access(store::SandboxRecord record, Principal who,
                                                 Room room = Room::made);
  /// To be called whenever keys, tokens or tenants have changed: what was given out under what does
  /// not stand any more goes, from the records at once, and then at the gate, which cuts its
  /// connections. unavailable: not everywhere at the gate yet, which is tried again.
  /// An empty tenant: whatever may have changed.
  Task<Result<void>> drop_stale_grants(KeyChange change);
  /// Records of versions without grants get one for the token that their clients have. Once, before
  /// anything else.
  Task<Result<void>> take_over_old_tokens();

  /// The policy of a tenant has changed: what its sandboxes may reach follows. As push_all().
  Task<void> push_tenant(std::string tenant);
  /// A secret has changed, or gone: what sandboxes that name it have intercepted follows. As
  /// push_all().
  Task<void> push_users_of(store::SecretRecord secret);
  /// Tells the node each sandbox's policy as it follows from the record and the configuration of
  /// today. Errors are logged, and leave it in doubt.
  Task<void> push_all();
  /// The same for one sandbox, which has come back and may have been told of a record that is older.
  Task<void> push_one(std::string id);
  /// The same for those in doubt: of which the node has not said that it has done what it was last
  /// told, which it may do all the same when the gate is back, or of which that is not written
  /// down.
  Task<void> push_doubtful();

 private:
  using Links = std::vector<store::LinkRecord>;
  /// Reads which sandboxes there are, if all of them are in doubt.
  Task<Result<void>> list_doubtful();
  /// Settles all of the tenant that are in doubt but `id`: from those of others no way leads into it.
  /// unavailable if one of them cannot be.
  Task<Result<void>> settle_others(std::string id, std::string tenant);
  /// Makes the node do what the record and its links say now; ok for one that is no more.
  Task<Result<void>> settle_as_recorded(std::string id);
  Task<Result<Links>> links_of(std::string id);
  Task<Result<void>> drop(std::string link);
  /// Makes node and record agree with what the record and `links` come to.
  Task<Result<void>> settle(store::SandboxRecord record, const Links& links);
  /// The same for the sandbox that `link` leads from, as if it were not there.
  Task<Result<void>> settle_without(store::LinkRecord link);
  Task<Result<void>> tell_node(const store::SandboxRecord& record,
                               const policy::EgressPolicy& policy);
  /// Where it runs by now and did not by `record`, the node is told after all.
  Task<Result<void>> write(const store::SandboxRecord& record);
  /// What the tenant leaves now of what goes out.
  Task<Result<EgressCeilings>> ceilings_now(std::string tenant);
  Task<Result<bool>> drop_stale_of(store::SandboxRecord record);

  const policy::EgressPlatform& platform_;
  store::AsyncStore& store_;
  NodeLink& node_;
  Sandboxes& sandboxes_;
  BoxSecrets& secrets_;
  Raised raised_;
  Written written_;
  TurnQueue changes_;
  /// Sandboxes, and their tenants, where the node may not do what the record says.
  std::map<std::string, std::string> doubtful_;
  bool all_doubtful_ = true;  ///< that may be any, and they have not been listed
};

}  // namespace hako::api
