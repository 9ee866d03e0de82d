// What a template is built from and how, as a request says it. Pure: no I/O.
#pragma once

#include <boost/json.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/field_reader.h"
#include "base/result.h"
#include "policy/label.h"

namespace hako::api {

enum class StepKind { run, copy, env, workdir, user };

struct RecipeStep {
  StepKind kind = StepKind::run;
  std::vector<std::string> args;
  std::string files_hash;  ///< of a COPY, as the client names its upload
  bool force = false;      ///< from here on nothing cached is used
};

/// What a registry is shown. Both empty: nothing.
struct RegistryLogin {
  std::string username, password;
};

struct Recipe {
  std::string from_template;
  std::string from_image;
  RegistryLogin login;       ///< for pulling that image; never told to anyone else
  std::string from_archive;  ///< the name of an uploaded image archive
  bool force = false;
  std::vector<RecipeStep> steps;
  std::string start_cmd;
  std::string ready_cmd;
};

/// Errors: invalid_argument names the field. No source at all means the default template.
Result<Recipe> parse_recipe(std::string_view body);

/// Whom, where and with which variables a step runs, and a box's programs after the last.
struct StepContext {
  std::string user = "user";
  std::string workdir = "/home/user";
  std::map<std::string, std::string> envs;
};

/// `defaults` as the node tells them. corrupted.
Result<StepContext> parse_context(const boost::json::object& defaults);
boost::json::object context_json(const StepContext& context);

/// Errors: failed_precondition where a template's variables have grown beyond what a node takes.
Result<void> check_size(const StepContext& context);

/// What `step` changes for those after it.
void apply_step(const RecipeStep& step, StepContext& context);

/// $NAME and ${NAME} replaced by their values, nothing for what is not set; "\$" is a dollar.
std::string expand(std::string_view text, const std::map<std::string, std::string>& envs);
/// `path` as seen from `workdir`, without "." and with ".." resolved by name.
std::string absolute_path(std::string_view path, std::string_view workdir);
/// The part of a COPY's source in front of the first component with a wildcard.
std::string fixed_part(std::string_view source);

/// One line for logs: "RUN pip install x".
std::string describe_step(const RecipeStep& step);

/// Whose disks are looked for: they serve no other tenant's builds, so that nobody learns what
/// others have built, and no other label's.
struct LayerCache {
  std::string start;  ///< what the steps begin on
  std::string tenant;
  policy::Label label = policy::Label::public_data;
};

/// For each step a name of the disk after it, 64 hex digits: equal for equal steps on an equal
/// start. `digests` is what each COPY's upload holds.
std::vector<std::string> layer_keys(const LayerCache& cache, const std::vector<RecipeStep>& steps,
                                    const std::map<std::string, std::string>& digests);
/// SHA-256, hex.
std::string sha256_hex(std::string_view text);

}  // namespace hako::api
