#include "api/template_catalog.h"

#include <algorithm>
#include <set>

#include "api/admission.h"
#include "api/egress_policy.h"
#include "api/now.h"
#include "api/scope.h"
#include "api/standing.h"
#include "api/user_error.h"
#include "api/walls.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

namespace hako::api {
namespace json = boost::json;
using namespace std::chrono_literals;
using store::BuildRecord;
using store::BuildState;
using store::TagRecord;
using store::TemplateRecord;
using store::TemplateStore;

namespace {

constexpr auto kTemplateListTime = 10s;
constexpr auto kTemplateRemoveTime = 60s;
constexpr size_t kTemplateIdLength = 20;

int64_t unix_ms() {
  return unix_now_ms();
}

Error no_template(const std::string& name) {
  return Error(ErrorCode::not_found, "template '" + name + "' not found");
}

bool is_its_own(const Principal& who) {
  return who.permission.empty();
}

bool exists_for(const Principal& who, const TemplateRecord& what) {
  if (!stands(Wall::templates)) return true;
  return policy::may_read(who.permission, facts_of(what), unix_ms()).allowed;
}

/// In the order in which a name means them.
Result<std::optional<TemplateRecord>> look_for(TemplateStore& templates, const std::string& name,
                                               const Principal& who) {
  HAKO_TRY(auto own, templates.find_template(who.tenant, name));
  if (own && exists_for(who, *own)) return own;
  HAKO_TRY(auto shared, templates.find_template(store::kDefaultTenant, name));
  if (shared && shared->is_public && exists_for(who, *shared)) return shared;
  size_t slash = name.find('/');
  if (slash == std::string::npos) return std::optional<TemplateRecord>();
  std::string tenant = name.substr(0, slash), rest = name.substr(slash + 1);
  HAKO_TRY(auto others, templates.find_template(tenant, rest));
  bool named_so = others && others->tenant == tenant && others->name == rest;
  if (named_so && others->is_public && exists_for(who, *others)) return others;
  return std::optional<TemplateRecord>();
}

Error reserved_name() {
  return Error(ErrorCode::failed_precondition,
               "names that begin with 'pulled/' are those of images from registries");
}

Error reserved_label() {
  return Error(ErrorCode::failed_precondition,
               "images from registries stay public: label the templates that are built on them");
}

ResolvedTemplate installed(const std::string& name) {
  ResolvedTemplate found{name, name, name};
  found.facts.tenant = store::kDefaultTenant;
  found.facts.id = found.facts.name = name;
  found.facts.is_public = true;
  return found;
}

ResolvedTemplate resolved(const TemplateRecord& what, const std::string& build_id) {
  return {what.id, what.name, build_id, label_of(what.label), facts_of(what)};
}

/// What other tenants must not read cannot stay open to them.
void rise_to(TemplateRecord& what, policy::Label label) {
  what.label = to_string(label);
  if (label > policy::Label::public_data) what.is_public = false;
}

/// Public is public to all tenants: that is not for a single agent to decide.
policy::Decision may_publish(const Principal& who) {
  if (who.agent.empty()) return policy::Decision::allow("template.public", "the tenant's own key");
  return policy::Decision::deny("template.public",
                                "an agent's key or token makes no template public",
                                "use a key of the whole tenant");
}

Error unusable(const Error& error) {
  return error_for_user(error, "templates not read");
}

Result<NodeTemplateFacts> read_facts(const json::value& value) {
  const json::object* fields = value.if_object();
  if (!fields) return Error(ErrorCode::corrupted, "template.list: a template must be an object");
  FieldReader reader(*fields, "template.list: ");
  NodeTemplateFacts facts;
  facts.name = reader.text("name", 256).value_or("");
  facts.revision = reader.text("revision", 1024).value_or("");
  facts.state = reader.text("state", 64).value_or("");
  facts.error = reader.text("error", 1 << 20).value_or("");
  facts.memory_mib = reader.number("memory_mib", 0, INT32_MAX).value_or(0);
  facts.vcpus = reader.number("vcpus", 0, INT32_MAX).value_or(0);
  facts.disk_mib = reader.number("disk_mib", 0, INT32_MAX).value_or(0);
  facts.pooled = reader.number("pooled", 0, INT32_MAX).value_or(0);
  facts.created_ms = reader.number("created_ms", 0, INT64_MAX).value_or(0);
  if (const json::object* defaults = reader.object("defaults")) {
    HAKO_TRY(facts.defaults, parse_context(*defaults));
  }
  HAKO_TRYV(reader.outcome());
  return facts;
}

}  // namespace

Error no_longer_allowed() {
  return Error(ErrorCode::failed_precondition,
               "the key or token that started this build may build no longer");
}

Task<Result<std::vector<NodeTemplateFacts>>> TemplateCatalog::node_templates() {
  json::object nothing;
  auto answer = co_await node_.call("template.list", std::move(nothing), kTemplateListTime);
  if (!answer) co_return error_for_user(answer.error(), "templates not listed");
  const json::value* list = answer.value().if_contains("templates");
  std::vector<NodeTemplateFacts> all;
  if (!list || !list->is_array()) co_return all;
  for (const json::value& value : list->get_array()) {
    auto facts = read_facts(value);
    if (!facts) {
      // One that cannot be read must not hide the others.
      log_warn("template left out", {{"error", facts.error().message()}});
      continue;
    }
    all.push_back(std::move(facts).value());
  }
  co_return all;
}

Task<Result<TemplateRecord>> TemplateCatalog::find(std::string id_or_name, Principal who) {
  auto work = [id_or_name, who = std::move(who)](TemplateStore& templates) {
    return look_for(templates, id_or_name, who);
  };
  auto found = co_await store_.with_templates(std::move(work));
  if (!found) co_return unusable(found.error());
  if (!found.value()) co_return no_template(id_or_name);
  co_return *found.value();
}

Task<Result<TemplateRecord>> TemplateCatalog::find_own(std::string id_or_name, Principal who) {
  HAKO_CO_TRY(auto what, co_await find(id_or_name, who));
  auto decision = policy::may_change(who.permission, facts_of(what), unix_ms());
  if (!decision.allowed) co_return refused_by(decision);
  co_return what;
}

Task<Result<BuildRecord>> TemplateCatalog::find_build(std::string template_id,
                                                      std::string build_id, Principal who) {
  HAKO_CO_TRY(auto what, co_await find(template_id, who));
  if (what.tenant != who.tenant && !is_its_own(who)) co_return no_template(template_id);
  co_return co_await build_of(what.id, build_id);
}

Task<Result<BuildRecord>> TemplateCatalog::build_of(std::string template_id,
                                                    std::string build_id) {
  auto work = [build_id](TemplateStore& templates) { return templates.find_build(build_id); };
  auto found = co_await store_.with_templates(std::move(work));
  if (!found) co_return unusable(found.error());
  if (!found.value() || found.value()->template_id != template_id)
    co_return Error(ErrorCode::not_found, "build not found");
  co_return *found.value();
}

Task<Result<TemplateSizes>> TemplateCatalog::sizes_of(std::string node_name) {
  if (auto known = sizes_.find(node_name); known != sizes_.end()) co_return known->second;
  HAKO_CO_TRY(auto all, co_await node_templates());
  for (const NodeTemplateFacts& facts : all) {
    TemplateSizes sizes{facts.memory_mib, facts.vcpus, facts.disk_mib};
    if (facts.state == "ready") sizes_[facts.name] = sizes;
    if (facts.name == node_name) co_return sizes;
  }
  co_return TemplateSizes();
}

Task<Result<std::vector<TagRecord>>> TemplateCatalog::tags_of(std::string template_id,
                                                                Principal who) {
  HAKO_CO_TRY(auto what, co_await find(template_id, std::move(who)));
  auto work = [id = what.id](TemplateStore& templates) { return templates.tags_of(id); };
  auto tags = co_await store_.with_templates(std::move(work));
  if (!tags) co_return unusable(tags.error());
  co_return std::move(tags);
}

Task<Result<ResolvedTemplate>> TemplateCatalog::resolve(std::string text, Principal who) {
  auto reference = parse_template_reference(text);
  // What no template can be called does not exist.
  if (!reference) co_return Error(ErrorCode::not_found, "there is no such template");
  std::string name = reference.value().name;
  std::string tag = reference.value().tag.value_or(std::string(kDefaultTag));
  if (is_default(name) && (tag == kDefaultTag || tag == "latest")) co_return installed(name);
  HAKO_CO_TRY(auto what, co_await find(name, who));
  // A private one is for whoever has its login, which the registry alone can tell.
  if (is_pulled_name(what.name))
    co_return Error(ErrorCode::failed_precondition,
                    "images from registries are used by fromImage, which asks the registry");
  HAKO_CO_TRY(auto tags, co_await tags_of(what.id, who));
  for (const TagRecord& each : tags)
    if (each.tag == tag) co_return resolved(what, each.build_id);
  co_return Error(ErrorCode::not_found,
                  "template '" + what.name + "' has no build with the tag '" + tag + "'");
}

Task<Result<std::optional<ResolvedTemplate>>> TemplateCatalog::find_imported(std::string text,
                                                                             Principal who) {
  std::optional<ResolvedTemplate> none;
  // No import has a digest for its name, nor one that templates cannot have.
  auto parsed = parse_image_reference(text);
  if (!parsed) co_return none;
  TemplateReference reference = std::move(parsed).value();
  auto what = co_await find(reference.name, who);
  if (!what && what.error().code() == ErrorCode::not_found) {
    // What E2B calls its base image is ours here.
    if (reference.name != "e2bdev/base") co_return none;
    co_return installed(config_.default_template);
  }
  if (!what) co_return what.error();
  // No import: whether `who` may have it only its registry can tell.
  if (is_pulled_name(what.value().name)) co_return none;
  HAKO_CO_TRY(auto tags, co_await tags_of(what.value().id, who));
  std::vector<std::string> wanted = {"latest", std::string(kDefaultTag)};
  if (reference.tag) wanted = {*reference.tag};
  for (const std::string& tag : wanted) {
    for (const TagRecord& each : tags) {
      if (each.tag != tag) continue;
      HAKO_CO_TRY(auto build, co_await build_of(what.value().id, each.build_id));
      if (build.is_image) co_return resolved(what.value(), each.build_id);
    }
  }
  co_return none;
}

Task<Result<TemplateCatalog::Registered>> TemplateCatalog::register_build(
    std::string text, std::vector<std::string> more_tags, int64_t vcpus, int64_t memory_mib,
    policy::Label label, Principal who) {
  auto readable = policy::may_read(who.clearance, label);
  if (!readable.allowed) co_return refused_by(readable);
  HAKO_CO_TRY(auto reference, parse_template_reference(text));
  HAKO_CO_TRY(auto tags, join_tags(reference.tag, more_tags));
  if (is_default(reference.name))
    co_return Error(ErrorCode::failed_precondition,
                    "'" + reference.name + "' is the installed image and cannot be replaced");
  if (is_pulled_name(reference.name)) co_return reserved_name();
  HAKO_CO_TRYV(admit_size(who.permission, memory_mib, vcpus));
  auto adding = add_build(std::move(reference), std::move(tags), vcpus, memory_mib, label,
                          std::move(who));
  co_return co_await std::move(adding);
}

Task<Result<TemplateCatalog::Registered>> TemplateCatalog::add_build(
    TemplateReference reference, std::vector<std::string> tags, int64_t vcpus, int64_t memory_mib,
    policy::Label label, Principal who) {
  auto work = [=](TemplateStore& templates) -> Result<Registered> {
    Registered registered;
    HAKO_TRY(auto known, templates.find_template(who.tenant, reference.name));
    // An id of another tenant's is any name here.
    if (known && known->tenant != who.tenant) known.reset();
    if (known && !exists_for(who, *known)) {
      return Error(ErrorCode::already_exists, "the name " + reference.name + " is taken");
    }
    if (known) {
      auto decision = policy::may_change(who.permission, facts_of(*known), unix_ms());
      if (!decision.allowed) return refused_by(decision);
    }
    // The reference may be an id.
    if (known && is_pulled_name(known->name) && known->name != reference.name) {
      return reserved_name();
    }
    if (known) {
      registered.what = *known;
    } else {
      registered.what.id = random_lower_alphanumeric(kTemplateIdLength);
      registered.what.name = reference.name;
      registered.what.created_ms = unix_ms();
      registered.what.key_id = who.key_id;
      registered.what.tenant = who.tenant;
      registered.what.agent = is_pulled_name(reference.name) ? std::string() : who.agent;
    }
    rise_to(registered.what, policy::high_water(label_of(registered.what.label), label));
    registered.what.updated_ms = unix_ms();
    HAKO_TRYV(templates.put_template(registered.what));
    registered.build.id = random_uuid();
    registered.build.template_id = registered.what.id;
    registered.build.vcpus = int(vcpus);
    registered.build.memory_mib = int(memory_mib);
    registered.build.created_ms = unix_ms();
    registered.build.tags = tags;
    HAKO_TRYV(templates.put_build(registered.build));
    return registered;
  };
  auto registered = co_await store_.with_templates(std::move(work));
  if (!registered) co_return unusable(registered.error());
  co_return std::move(registered);
}

Task<Result<std::optional<ResolvedTemplate>>> TemplateCatalog::find_pulled(std::string name,
                                                                           std::string digest,
                                                                           Principal who) {
  std::optional<ResolvedTemplate> none;
  auto look = [tenant = who.tenant, wanted = pulled_name(name)](TemplateStore& templates) {
    return templates.find_template(tenant, wanted);
  };
  auto found = co_await store_.with_templates(std::move(look));
  if (!found) co_return unusable(found.error());
  const std::optional<TemplateRecord>& what = found.value();
  if (!what || what->tenant != who.tenant) co_return none;
  HAKO_CO_TRY(auto tags, co_await tags_of(what->id, itself()));
  std::string tag = pulled_tag(digest);
  for (const TagRecord& each : tags) {
    if (each.tag != tag) continue;
    // A tag's time says when it was used last.
    auto work = [id = what->id, build = each.build_id, tag](TemplateStore& templates) {
      return templates.set_tags(id, build, {tag}, unix_ms());
    };
    auto written = co_await store_.with_templates(std::move(work));
    if (!written) co_return unusable(written.error());
    co_return resolved(*what, each.build_id);
  }
  co_return none;
}

Task<Result<TemplateCatalog::Registered>> TemplateCatalog::register_pulled(
    std::string name, std::string digest, Principal who) {
  TemplateReference reference;
  reference.name = pulled_name(name);
  auto adding = add_build(std::move(reference), {pulled_tag(digest)}, 0, 0,
                          policy::Label::public_data, std::move(who));
  co_return co_await std::move(adding);
}

Task<Result<void>> TemplateCatalog::forget_old_pulled(std::string tenant) {
  HAKO_CO_TRY(auto all, co_await list(itself()));
  std::vector<std::pair<std::string, TagRecord>> pulled;
  for (const Listed& each : all)
    for (const TagRecord& tag : each.tags) {
      bool of_tenant = each.what.tenant == tenant && is_pulled_name(each.what.name);
      if (of_tenant) pulled.emplace_back(each.what.id, tag);
    }
  if (pulled.size() <= kMostPulled) co_return ok();
  std::sort(pulled.begin(), pulled.end(), [](const auto& a, const auto& b) {
    return a.second.created_ms > b.second.created_ms;
  });
  for (size_t i = kMostPulled; i < pulled.size(); ++i) {
    auto work = [id = pulled[i].first, tag = pulled[i].second.tag](TemplateStore& templates) {
      return templates.remove_tags(id, {tag});
    };
    auto removed = co_await store_.with_templates(std::move(work));
    if (!removed) co_return unusable(removed.error());
    HAKO_CO_TRYV(co_await remove_untagged(pulled[i].first));
  }
  co_return ok();
}

Task<Result<void>> TemplateCatalog::update_build(BuildRecord build) {
  auto work = [build](TemplateStore& templates) {
    return templates.put_build(build);
  };
  auto written = co_await store_.with_templates(std::move(work));
  if (!written) co_return unusable(written.error());
  co_return ok();
}

Task<Result<void>> TemplateCatalog::finish_build(BuildRecord build, Principal who) {
  // One step: whoever takes a key away does it before or after all of this.
  auto work = [build, who = std::move(who)](store::Store& store) -> Result<void> {
    HAKO_TRY(bool stands, may_go_on(store.tenants(), who, policy::Action::template_write, unix_ms()));
    if (!stands) return no_longer_allowed();
    HAKO_TRYV(store.templates().put_build(build));
    return store.templates().set_tags(build.template_id, build.id, build.tags, unix_ms());
  };
  auto written = co_await store_.with_all(std::move(work));
  if (!written) co_return unusable(written.error());
  // It is ready, whatever is left of those before it.
  (void)co_await remove_untagged(build.template_id);
  co_return ok();
}

Task<Result<void>> TemplateCatalog::remove_at_node(std::string build_id) {
  json::object body;
  body["name"] = build_id;
  auto answer = co_await node_.call("template.remove", std::move(body), kTemplateRemoveTime);
  if (answer || answer.error().code() == ErrorCode::not_found) co_return ok();
  co_return error_for_user(answer.error(), "template not removed");
}

Task<Result<void>> TemplateCatalog::remove_untagged(std::string template_id) {
  HAKO_CO_TRY(auto tags, co_await tags_of(template_id, itself()));
  auto work = [template_id](TemplateStore& templates) { return templates.builds_of(template_id); };
  auto builds = co_await store_.with_templates(std::move(work));
  if (!builds) co_return unusable(builds.error());
  std::set<std::string> tagged;
  for (const TagRecord& tag : tags) tagged.insert(tag.build_id);
  for (const BuildRecord& build : builds.value())
    if (build.state == BuildState::ready && !tagged.contains(build.id)) {
      HAKO_CO_TRYV(co_await remove_at_node(build.id));
    }
  co_return ok();
}

Task<Result<std::string>> TemplateCatalog::assign_tags(std::string target,
                                                       std::vector<std::string> texts,
                                                       Principal who) {
  HAKO_CO_TRY(auto reference, parse_template_reference(target));
  if (is_pulled_name(reference.name)) co_return reserved_name();
  HAKO_CO_TRY(auto tags, join_tags(std::nullopt, texts));
  HAKO_CO_TRY(auto found, co_await resolve(target, who));
  if (is_default(found.id))
    co_return Error(ErrorCode::failed_precondition, "the installed image takes no tags");
  auto decision = policy::may_change(who.permission, found.facts, unix_ms());
  if (!decision.allowed) co_return refused_by(decision);
  auto work = [=](TemplateStore& templates) {
    return templates.set_tags(found.id, found.node_name, tags, unix_ms());
  };
  auto written = co_await store_.with_templates(std::move(work));
  if (!written) co_return unusable(written.error());
  HAKO_CO_TRYV(co_await remove_untagged(found.id));
  co_return found.node_name;
}

Task<Result<void>> TemplateCatalog::remove_tags(std::string name, std::vector<std::string> tags,
                                                Principal who) {
  HAKO_CO_TRY(auto reference, parse_template_reference(name));
  for (const std::string& text : tags) {
    HAKO_CO_TRY(auto tag, clean_tag(text));
    if (tag == kDefaultTag)
      co_return Error(ErrorCode::invalid_argument, "the tag 'default' cannot be removed");
  }
  HAKO_CO_TRY(auto what, co_await find_own(reference.name, std::move(who)));
  auto work = [id = what.id, tags](TemplateStore& templates) {
    return templates.remove_tags(id, tags);
  };
  auto removed = co_await store_.with_templates(std::move(work));
  if (!removed) co_return unusable(removed.error());
  co_return co_await remove_untagged(what.id);
}

Task<Result<std::string>> TemplateCatalog::remove(std::string text, Principal who) {
  auto reference = parse_template_reference(text);
  if (!reference) co_return Error(ErrorCode::not_found, "there is no such template");
  if (is_default(reference.value().name))
    co_return Error(ErrorCode::failed_precondition, "'" + reference.value().name +
                                                        "' is the installed image and cannot be "
                                                        "removed");
  if (reference.value().tag.value_or(std::string(kDefaultTag)) != kDefaultTag)
    co_return Error(
        ErrorCode::invalid_argument,
        "this removes a template with all its tags; DELETE /templates/tags removes one");
  HAKO_CO_TRY(auto what, co_await find_own(reference.value().name, std::move(who)));
  auto builds_work = [id = what.id](TemplateStore& templates) { return templates.builds_of(id); };
  auto builds = co_await store_.with_templates(std::move(builds_work));
  if (!builds) co_return unusable(builds.error());
  for (const BuildRecord& build : builds.value())
    if (build.state == BuildState::ready) {
      HAKO_CO_TRYV(co_await remove_at_node(build.id));
    }
  auto work = [id = what.id](TemplateStore& templates) { return templates.remove_template(id); };
  auto removed = co_await store_.with_templates(std::move(work));
  if (!removed) co_return unusable(removed.error());
  co_return what.id;
}

Task<Result<TemplateRecord>> TemplateCatalog::change(std::string text, Change change,
                                                     Principal who) {
  auto reference = parse_template_reference(text);
  if (!reference) co_return Error(ErrorCode::not_found, "there is no such template");
  HAKO_CO_TRY(auto found, co_await find_own(reference.value().name, who));
  if (change.is_public.value_or(false)) {
    auto decision = may_publish(who);
    if (!decision.allowed) co_return refused_by(decision);
  }
  // Nor can a key take a template out of its own sight.
  policy::Label wanted = change.label.value_or(policy::Label::public_data);
  auto readable = policy::may_read(who.clearance, wanted);
  if (!readable.allowed) co_return refused_by(readable);
  auto work = [id = found.id, change](TemplateStore& templates) -> Result<TemplateRecord> {
    HAKO_TRY(auto what, templates.find_template("", id));
    if (!what) return no_template(id);
    if (change.label) {
      // One key's label would keep the image from all others, who can pull it as well.
      if (is_pulled_name(what->name)) return reserved_label();
      auto decision = policy::may_relabel(label_of(what->label), *change.label);
      if (!decision.allowed) {
        return Error(ErrorCode::failed_precondition, with_rule(decision));
      }
      rise_to(*what, *change.label);
    }
    if (change.is_public.value_or(false) && label_of(what->label) > policy::Label::public_data) {
      return Error(ErrorCode::failed_precondition,
                   "template '" + what->name + "' has the label " + what->label +
                       ": only public data may be public to all tenants");
    }
    if (change.is_public) what->is_public = *change.is_public;
    what->updated_ms = unix_ms();
    HAKO_TRYV(templates.put_template(*what));
    return *what;
  };
  auto changed = co_await store_.with_templates(std::move(work));
  if (!changed) co_return unusable(changed.error());
  co_return std::move(changed);
}

Task<Result<policy::Label>> TemplateCatalog::raise_label(std::string template_id,
                                                         policy::Label label) {
  auto work = [template_id, label](TemplateStore& templates) -> Result<policy::Label> {
    HAKO_TRY(auto what, templates.find_template("", template_id));
    if (!what) return no_template(template_id);
    policy::Label risen = policy::high_water(label_of(what->label), label);
    rise_to(*what, risen);
    HAKO_TRYV(templates.put_template(*what));
    return risen;
  };
  auto raised = co_await store_.with_templates(std::move(work));
  if (!raised) co_return unusable(raised.error());
  co_return std::move(raised);
}

Task<Result<std::vector<TemplateCatalog::Listed>>> TemplateCatalog::list(Principal who) {
  auto work = [who = std::move(who)](TemplateStore& templates) -> Result<std::vector<Listed>> {
    HAKO_TRY(auto all, templates.all_templates());
    std::vector<Listed> listed;
    for (auto& what : all) {
      bool shared = what.tenant == store::kDefaultTenant && what.is_public;
      if (!is_its_own(who) && what.tenant != who.tenant && !shared) continue;
      if (!exists_for(who, what)) continue;
      Listed entry;
      HAKO_TRY(entry.builds, templates.builds_of(what.id));
      HAKO_TRY(entry.tags, templates.tags_of(what.id));
      entry.what = std::move(what);
      listed.push_back(std::move(entry));
    }
    return listed;
  };
  auto listed = co_await store_.with_templates(std::move(work));
  if (!listed) co_return unusable(listed.error());
  co_return std::move(listed);
}

Task<Result<void>> TemplateCatalog::fail_unfinished() {
  auto work = [](TemplateStore& templates) {
    return templates.fail_unfinished_builds("the server was started again meanwhile");
  };
  co_return co_await store_.with_templates(std::move(work));
}

Task<void> TemplateCatalog::remove_strays() {
  // Whatever was known of them was before this node was there.
  sizes_.clear();
  auto known = co_await node_templates();
  if (!known) co_return;  // said already
  for (const NodeTemplateFacts& facts : known.value()) {
    if (is_default(facts.name)) continue;
    auto work = [name = facts.name](TemplateStore& templates) {
      return templates.find_build(name);
    };
    auto build = co_await store_.with_templates(std::move(work));
    if (!build) continue;
    bool wanted = build.value() && build.value()->state != BuildState::error;
    if (wanted) continue;
    auto removed = co_await remove_at_node(facts.name);
    log_info("stray template removed", {{"template", facts.name}, {"done", bool(removed)}});
  }
}

}  // namespace hako::api
