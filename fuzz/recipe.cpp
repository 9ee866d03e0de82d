// Recipes of templates, as any holder of a key may send them, and what the node says a template
// starts from: an error that does not carry the body back, or steps within their bounds that leave
// a context which is a context again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "api/template_recipe.h"

namespace {

using namespace hako::api;

constexpr size_t kLongestValue = 64 << 10;

void require(bool holds) {
  if (!holds) std::abort();
}

bool is_absolute_and_clean(const std::string& path) {
  std::string around = path + "/";
  return path.starts_with('/') && around.find("/../") == around.npos &&
         around.find("/./") == around.npos && path.find("//") == path.npos;
}

void try_context(const boost::json::object& fields) {
  auto context = parse_context(fields);
  if (!context) return require(context.error().message().size() < 1024);
  auto again = parse_context(context_json(context.value()));
  require(again && again.value().envs == context.value().envs);
  require(again.value().user == context.value().user);
}

void try_recipe(std::string_view body) {
  auto recipe = parse_recipe(body);
  if (!recipe) {
    require(!recipe.error().message().empty() && recipe.error().message().size() < 1024);
    return;
  }
  StepContext context;
  for (const RecipeStep& step : recipe.value().steps) {
    for (const std::string& arg : step.args) require(arg.find('\0') == arg.npos);
    require(!describe_step(step).empty());
    apply_step(step, context);
    require(is_absolute_and_clean(context.workdir));
    for (const auto& [name, value] : context.envs)
      require(!name.empty() && name.find('=') == name.npos && value.size() <= kLongestValue);
    if (!check_size(context)) return;
  }
  require(layer_keys({}, recipe.value().steps, {}).size() == recipe.value().steps.size());
}

void try_texts(std::string_view text) {
  std::map<std::string, std::string> variables{{"A", std::string(text)}, {"B", "$A"}};
  require(expand(text, variables).size() <= kLongestValue);
  require(is_absolute_and_clean(absolute_path(text, "/home/user")));
  require(!fixed_part(text).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: bytes looked at as text.
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try_recipe(text);
  try_texts(text);
  boost::json::error_code bad;
  auto value = boost::json::parse(text, bad);
  if (!bad && value.is_object()) try_context(value.get_object());
  return 0;
}
