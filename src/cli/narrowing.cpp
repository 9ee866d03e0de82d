#include "cli/narrowing.h"

#include <CLI/CLI.hpp>

#include "cli/duration.h"
#include "cli/egress_commands.h"
#include "cli/model_commands.h"
#include "cli/text.h"
#include "policy/caveat.h"

namespace hako::cli {
namespace {

Error wrong(std::string message) {
  return Error(ErrorCode::invalid_argument, std::move(message));
}

void add_count(CLI::App* app, const std::string& name, std::optional<int64_t>& into, int64_t least,
               const std::string& help) {
  app->add_option_function<int64_t>(
         name, [&into](int64_t value) { into = value; }, help)
      ->check(CLI::Range(least, INT64_MAX))
      ->type_name("N");
}

void add_words(CLI::App* app, const std::string& name, std::vector<std::string>& into,
               const std::string& type, const std::string& help) {
  app->add_option(name, into, help)
      ->type_name(type)
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

/// The text of a list in a caveat, which parse_caveat() checks.
std::string joined(const std::vector<std::string>& words, char separator) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += separator;
    text += word;
  }
  return text;
}

/// As a caveat says it, so that there is one reader for what people write.
Result<void> read(const std::string& name, const std::string& text, policy::Narrowing& into,
                  auto member) {
  HAKO_TRY(auto one, policy::parse_caveat(name + " = " + text));
  into.*member = std::move(one.*member);
  return ok();
}

Result<std::vector<policy::Target>> targets_of(const std::vector<std::string>& texts) {
  std::vector<policy::Target> targets;
  for (const std::string& text : texts) {
    HAKO_TRY(auto target, policy::parse_target(text));
    targets.push_back(std::move(target));
  }
  return targets;
}

/// Without a level: the list if there is one, else all but what is denied.
Result<std::optional<policy::EgressLayer>> egress_of(const Confinement& confinement) {
  std::optional<policy::EgressLayer> none;
  if (confinement.egress.empty() && confinement.allow.empty() && confinement.deny.empty())
    return none;
  policy::EgressLayer layer;
  using policy::EgressLevel;
  layer.level = confinement.allow.empty() ? EgressLevel::internet : EgressLevel::allow;
  if (!confinement.egress.empty()) {
    auto level = policy::egress_level_from(confinement.egress);
    if (!level) return wrong("--egress is none, allow or internet");
    layer.level = *level;
  }
  if (layer.level != EgressLevel::allow && !confinement.allow.empty())
    return wrong("--allow goes with --egress allow alone");
  HAKO_TRY(layer.allow, targets_of(confinement.allow));
  HAKO_TRY(layer.deny, targets_of(confinement.deny));
  return std::optional(std::move(layer));
}

Result<int64_t> expiry_of(const std::string& text, WallTime now) {
  if (auto span = parse_duration(text)) return to_unix_ms(now + span.value());
  if (auto time = from_rfc3339(text)) return to_unix_ms(*time);
  return wrong("'" + printable_field(text) +
               "' is no time: write a span from now like 30m, or 2026-12-01T00:00:00Z");
}

}  // namespace

void add_narrowing(CLI::App* app, NarrowingOptions& options) {
  app->add_option("--agent", options.agent, "What belongs to this agent and those below it")
      ->type_name("PATH");
  add_words(app, "--sandbox", options.sandboxes, "ID", "This box; may be repeated");
  add_words(app, "--template", options.templates, "NAME",
            "Boxes of this template; may be repeated");
  app->add_option("--actions", options.actions, "Only these, like sandbox.exec,files.read")
      ->type_name("A,B");
  add_confinement(app, options.confinement);
  add_count(app, "--memory", options.memory_mib, 1, "Most memory of a box, in MiB");
  add_count(app, "--cpu", options.vcpus, 1, "Most virtual CPUs of a box");
  app->add_option_function<std::string>(
         "--ttl",
         [&options](const std::string& text) {
           auto span = parse_duration(text);
           if (!span) throw CLI::ValidationError(span.error().message());
           options.ttl = span.value();
         },
         "Longest life of a box, like 30s, 5m or 2h")
      ->type_name("TIME");
  add_count(app, "--boxes", options.boxes, 0, "Most boxes alive at once");
  add_count(app, "--egress-bytes", options.egress_bytes, 1,
            "Most bytes in and out of a box in its life");
  add_model_limits(app, options.models);
  app->add_option("--expires", options.expires, "Until then: a span from now, or a time")
      ->type_name("TIME");
}

Result<policy::Narrowing> narrowing_of(const NarrowingOptions& options, WallTime now) {
  using policy::Narrowing;
  Narrowing made;
  if (!options.agent.empty()) {
    HAKO_TRYV(read("agent", options.agent, made, &Narrowing::agent));
  }
  if (!options.sandboxes.empty()) {
    HAKO_TRYV(read("sandbox", joined(options.sandboxes, ','), made, &Narrowing::sandboxes));
  }
  if (!options.templates.empty()) {
    HAKO_TRYV(read("template", joined(options.templates, ','), made, &Narrowing::templates));
  }
  if (!options.actions.empty()) {
    HAKO_TRYV(read("actions", options.actions, made, &Narrowing::actions));
  }
  if (!options.confinement.label.empty()) {
    made.label = policy::label_from(options.confinement.label);
    if (!made.label) return wrong("--label is public, internal, confidential or secret");
  }
  HAKO_TRY(made.egress, egress_of(options.confinement));
  made.memory_mib = options.memory_mib;
  made.vcpus = options.vcpus;
  if (options.ttl) made.ttl_s = options.ttl->count();
  made.boxes = options.boxes;
  made.egress_bytes = options.egress_bytes;
  if (!options.models.models.empty()) {
    HAKO_TRYV(read("model", joined(options.models.models, ','), made, &Narrowing::models));
  }
  made.model_requests = options.models.requests;
  made.model_tokens = options.models.tokens;
  made.model_microusd = options.models.microusd;
  if (!options.expires.empty()) {
    HAKO_TRY(made.expires_ms, expiry_of(options.expires, now));
  }
  return made;
}

Result<std::vector<std::string>> caveats_of(const NarrowingOptions& options, WallTime now) {
  HAKO_TRY(auto narrowing, narrowing_of(options, now));
  std::vector<std::string> caveats = policy::to_caveats(narrowing);
  for (const std::string& text : options.caveats) {
    HAKO_TRYV(policy::parse_caveat(text));
    caveats.push_back(text);
  }
  return caveats;
}

}  // namespace hako::cli
