#include "api/template_recipe.h"

#include <openssl/sha.h>

#include <algorithm>

#include "base/encoding.h"

namespace hako::api {
namespace json = boost::json;

namespace {

/// Of before there were others: its disks keep their names.
constexpr std::string_view kFirstTenant = "default";

constexpr size_t kMostRecipeSteps = 256;
constexpr size_t kMostArguments = 512;
constexpr size_t kLongestArgument = 64 << 10;
constexpr size_t kLongestSource = 512;
constexpr size_t kLongestPassword = 16 << 10;
constexpr size_t kMostVariables = 128 << 10;  ///< names and values, all together
constexpr size_t kMostValue = 64 << 10;       ///< of a variable once expanded

struct Kind {
  std::string_view name;
  StepKind kind;
  size_t least, most;  ///< arguments
};
constexpr Kind kKinds[] = {
    {"RUN", StepKind::run, 1, 2},
    {"COPY", StepKind::copy, 2, 4},
    {"ENV", StepKind::env, 2, kMostArguments},
    {"WORKDIR", StepKind::workdir, 1, 1},
    {"USER", StepKind::user, 1, 2},
};

const Kind* find_kind(std::string_view name) {
  for (const Kind& kind : kKinds)
    if (kind.name == name) return &kind;
  return nullptr;
}

bool is_variable_name(std::string_view name) {
  return !name.empty() && name.find('=') == std::string_view::npos;
}

void check_env(FieldReader& reader, const std::vector<std::string>& args) {
  if (args.size() % 2 != 0) reader.fail("args", "must be names and values in turn");
  for (size_t i = 0; i + 1 < args.size(); i += 2)
    if (!is_variable_name(args[i])) reader.fail("args", "holds what is no variable's name");
}

RecipeStep read_step(FieldReader& reader) {
  RecipeStep step;
  std::string type = reader.text("type", 32).value_or("");
  for (char& c : type)
    if (c >= 'a' && c <= 'z') c = char(c - 'a' + 'A');
  const Kind* kind = find_kind(type);
  if (!kind) {
    reader.fail("type", "must be RUN, COPY, ENV, WORKDIR or USER");
    return step;
  }
  step.kind = kind->kind;
  step.args = reader.text_list("args", kMostArguments, kLongestArgument)
                  .value_or(std::vector<std::string>());
  step.files_hash = reader.text("filesHash", 64).value_or("");
  step.force = reader.flag("force").value_or(false);
  if (step.args.size() < kind->least || step.args.size() > kind->most)
    reader.fail("args", "has a wrong number of entries for " + type);
  if (step.kind == StepKind::env) check_env(reader, step.args);
  return step;
}

RegistryLogin read_login(const json::object& fields, FieldReader& outer) {
  FieldReader reader(fields, "fromImageRegistry.");
  std::string type = reader.text("type", 32).value_or("");
  RegistryLogin login;
  if (type == "aws" || type == "gcp") {
    reader.fail("type",
                "\"" + type +
                    "\" is not supported: this server makes no tokens for clouds; log in as "
                    "\"registry\", with the user name and password that the cloud gives out for "
                    "its registry",
                ErrorCode::unsupported);
  } else if (type != "registry") {
    reader.fail("type", "must be \"registry\"");
  } else {
    login.username = reader.text("username", kLongestSource).value_or("");
    login.password = reader.text("password", kLongestPassword).value_or("");
    if (login.username.empty()) reader.fail("username", "is required");
    if (login.password.empty()) reader.fail("password", "is required");
    if (login.username.find(':') != std::string::npos) reader.fail("username", "holds a ':'");
  }
  outer.merge(reader);
  return login;
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::vector<std::string_view> components(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    if (end > 0) parts.push_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

}  // namespace

Result<Recipe> parse_recipe(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  Recipe recipe;
  recipe.from_template = reader.text("fromTemplate", kLongestSource).value_or("");
  recipe.from_image = reader.text("fromImage", kLongestSource).value_or("");
  recipe.from_archive = reader.text("fromArchive", 64).value_or("");
  recipe.force = reader.flag("force").value_or(false);
  recipe.start_cmd = reader.text("startCmd", kLongestArgument).value_or("");
  recipe.ready_cmd = reader.text("readyCmd", kLongestArgument).value_or("");
  if (const json::object* registry = reader.object("fromImageRegistry"))
    recipe.login = read_login(*registry, reader);
  if (!recipe.from_template.empty() && !recipe.from_image.empty())
    reader.fail("fromImage", "and fromTemplate exclude each other");
  const json::array* steps = reader.array("steps");
  if (steps && steps->size() > kMostRecipeSteps) {
    reader.fail("steps", "must have at most " + std::to_string(kMostRecipeSteps) + " entries");
    steps = nullptr;
  }
  for (size_t i = 0; steps && i < steps->size(); ++i) {
    std::string name = "steps[" + std::to_string(i) + "]";
    const json::object* fields = (*steps)[i].if_object();
    if (!fields) {
      reader.fail(name, "must be an object");
      break;
    }
    FieldReader inner(*fields, name + ".");
    recipe.steps.push_back(read_step(inner));
    reader.merge(inner);
  }
  HAKO_TRYV(reader.outcome());
  return recipe;
}

Result<StepContext> parse_context(const json::object& defaults) {
  FieldReader reader(defaults, "defaults.");
  StepContext context;
  context.user = reader.text("user", 256).value_or(context.user);
  context.workdir = reader.text("workdir", 4096).value_or(context.workdir);
  MapLimits limits{.pairs = 4096, .key = 4096, .value = 1 << 20, .total = 4 << 20};
  for (auto& [name, value] : reader.texts("envs", limits).value_or(TextPairs()))
    context.envs[name] = std::move(value);
  auto outcome = reader.outcome();
  if (!outcome) return Error(ErrorCode::corrupted, outcome.error().message());
  return context;
}

json::object context_json(const StepContext& context) {
  json::object envs;
  for (const auto& [name, value] : context.envs) envs[name] = value;
  json::object fields;
  fields["user"] = context.user;
  fields["workdir"] = context.workdir;
  fields["envs"] = std::move(envs);
  return fields;
}

Result<void> check_size(const StepContext& context) {
  size_t size = 0;
  for (const auto& [name, value] : context.envs) size += name.size() + value.size();
  if (size <= kMostVariables) return ok();
  return Error(ErrorCode::failed_precondition, "the environment of a template has at most " +
                                                   std::to_string(kMostVariables >> 10) + " KiB");
}

void apply_step(const RecipeStep& step, StepContext& context) {
  switch (step.kind) {
    case StepKind::env:
      for (size_t i = 0; i + 1 < step.args.size(); i += 2)
        context.envs[step.args[i]] = expand(step.args[i + 1], context.envs);
      break;
    case StepKind::workdir:
      context.workdir = absolute_path(expand(step.args[0], context.envs), context.workdir);
      break;
    case StepKind::user: {
      std::string user = expand(step.args[0], context.envs);
      context.user = user.substr(0, user.find(':'));
      break;
    }
    case StepKind::run:
    case StepKind::copy:
      break;
  }
}

std::string expand(std::string_view text, const std::map<std::string, std::string>& envs) {
  std::string out;
  for (size_t i = 0; i < text.size() && out.size() < kMostValue; ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    bool braced = text[i] == '$' && i + 1 < text.size() && text[i + 1] == '{';
    size_t start = i + (braced ? 2 : 1);
    size_t end = start;
    while (end < text.size() && is_name_char(text[end])) ++end;
    bool closed = !braced || (end < text.size() && text[end] == '}');
    if (text[i] != '$' || end == start || !closed) {
      out += text[i];
      continue;
    }
    std::string name(text.substr(start, end - start));
    if (auto found = envs.find(name); found != envs.end()) {
      out += found->second;
    } else if (name == "PATH") {
      out += "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    }
    i = braced ? end : end - 1;
  }
  return out.substr(0, kMostValue);
}

std::string absolute_path(std::string_view path, std::string_view workdir) {
  std::string whole;
  if (path.empty() || path.front() != '/') whole = std::string(workdir) + "/";
  whole += path;
  std::vector<std::string_view> kept;
  for (std::string_view part : components(whole)) {
    if (part == ".") continue;
    if (part != "..") {
      kept.push_back(part);
    } else if (!kept.empty()) {
      kept.pop_back();
    }
  }
  std::string result;
  for (std::string_view part : kept) result.append("/").append(part);
  return result.empty() ? "/" : result;
}

std::string fixed_part(std::string_view source) {
  std::string fixed;
  for (std::string_view part : components(source)) {
    if (part.find_first_of("*?[{!") != std::string_view::npos) break;
    if (part == ".") continue;
    if (!fixed.empty()) fixed += '/';
    fixed += part;
  }
  return fixed.empty() ? "." : fixed;
}

std::string describe_step(const RecipeStep& step) {
  std::string text;
  for (const Kind& kind : kKinds)
    if (kind.kind == step.kind) text = kind.name;
  size_t shown = step.kind == StepKind::run ? 1 : step.args.size();
  if (step.kind == StepKind::copy) shown = 2;
  for (size_t i = 0; i < shown && i < step.args.size(); ++i) text += " " + step.args[i];
  return text;
}

std::string sha256_hex(std::string_view text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  // SAFETY: SHA256 reads text.size() bytes.
  ::SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return hex_encode({reinterpret_cast<const char*>(digest), sizeof digest});
}

std::vector<std::string> layer_keys(const LayerCache& cache, const std::vector<RecipeStep>& steps,
                                    const std::map<std::string, std::string>& digests) {
  std::vector<std::string> keys;
  std::string begin = "hako layer 1\n" + cache.start;
  if (cache.label > policy::Label::public_data) {
    begin += "\nlabel " + std::string(to_string(cache.label));
  }
  if (cache.tenant != kFirstTenant) begin += "\ntenant " + cache.tenant;
  std::string key = sha256_hex(begin);
  for (const RecipeStep& step : steps) {
    json::array args;
    for (const auto& arg : step.args) args.emplace_back(arg);
    json::array parts;
    parts.emplace_back(key);
    parts.emplace_back(int(step.kind));
    parts.push_back(std::move(args));
    // Not what the client calls its files but what they hold: others build from the same cache.
    auto digest = digests.find(step.files_hash);
    parts.emplace_back(digest == digests.end() ? "" : digest->second);
    key = sha256_hex(json::serialize(parts));
    keys.push_back(key);
  }
  return keys;
}

}  // namespace hako::api
