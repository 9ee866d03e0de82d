#include "api/model_terms.h"

#include <algorithm>

#include "policy/narrowing_json.h"

namespace hako::api {
namespace json = boost::json;
using policy::Narrowing;
using policy::PermissionLayer;

namespace {

constexpr size_t kMostModels = 256;
constexpr size_t kLongestModelName = 128;
constexpr int64_t kMostOfModels = 1'000'000'000'000'000;

Narrowing model_part(const Narrowing& leaves) {
  Narrowing part;
  part.models = leaves.models;
  part.model_requests = leaves.model_requests;
  part.model_tokens = leaves.model_tokens;
  part.model_microusd = leaves.model_microusd;
  return part;
}

Error unreadable() {
  return Error(ErrorCode::corrupted, "what the sandbox may call of models cannot be read");
}

Result<Narrowing> read_narrowing_of(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  if (!value) return Narrowing();
  if (!value->is_object()) return unreadable();
  auto narrowing = policy::narrowing_from(value->get_object());
  if (!narrowing) return unreadable();
  return std::move(narrowing.value());
}

Result<PermissionLayer> read_caveat_layer(const json::value& value) {
  const json::object* object = value.if_object();
  const json::value* name = object ? object->if_contains("name") : nullptr;
  const json::value* budget = object ? object->if_contains("budget") : nullptr;
  if (!name || !name->is_string() || !budget || !budget->is_string()) return unreadable();
  PermissionLayer layer;
  layer.name = std::string(name->get_string());
  layer.budget = std::string(budget->get_string());
  HAKO_TRY(layer.leaves, read_narrowing_of(*object, "leaves"));
  return layer;
}

}  // namespace

json::object read_model_terms(FieldReader& reader) {
  json::object terms;
  const json::object* asked = reader.object("models");
  if (!asked) return terms;
  FieldReader inner(*asked, "models.");
  inner.allow_only({"allow", "requests", "tokens", "microUSD"});
  Narrowing box;
  if (auto names = inner.text_list("allow", kMostModels, kLongestModelName)) {
    for (const std::string& name : *names) {
      if (!policy::is_model_pattern(name)) {
        inner.fail("allow", "must hold names of models, perhaps with '*' at their ends");
      }
    }
    box.models.emplace(names->begin(), names->end());
  }
  box.model_requests = inner.number("requests", 0, kMostOfModels);
  box.model_tokens = inner.number("tokens", 0, kMostOfModels);
  box.model_microusd = inner.number("microUSD", 0, kMostOfModels);
  reader.merge(inner);
  terms["box"] = policy::to_json(box);
  return terms;
}

void keep_caveats(json::object& terms, const policy::Permission& permission, size_t caveats) {
  json::array kept;
  if (json::value* before = terms.if_contains("caveats"); before && before->is_array()) {
    kept = before->get_array();
  }
  size_t first = permission.size() - std::min(caveats, permission.size());
  for (size_t i = first; i < permission.size(); ++i) {
    const PermissionLayer& layer = permission[i];
    Narrowing part = model_part(layer.leaves);
    if (part == Narrowing()) continue;
    json::object one;
    one["name"] = layer.name;
    one["budget"] = layer.budget;
    one["leaves"] = policy::to_json(part);
    // A fork by the same token has it already.
    if (std::find(kept.begin(), kept.end(), json::value(one)) == kept.end()) {
      kept.push_back(std::move(one));
    }
  }
  if (!kept.empty()) terms["caveats"] = std::move(kept);
}

Result<ModelTerms> model_terms_of(std::string_view options) {
  ModelTerms terms;
  if (options.empty()) return terms;
  json::error_code bad;
  json::value value = json::parse(json::string_view(options.data(), options.size()), bad);
  const json::object* object = bad ? nullptr : value.if_object();
  if (!object) return unreadable();
  const json::value* models = object->if_contains("models");
  if (!models) return terms;
  if (!models->is_object()) return unreadable();
  HAKO_TRY(terms.box, read_narrowing_of(models->get_object(), "box"));
  const json::value* caveats = models->get_object().if_contains("caveats");
  if (!caveats) return terms;
  if (!caveats->is_array()) return unreadable();
  for (const json::value& each : caveats->get_array()) {
    HAKO_TRY(auto layer, read_caveat_layer(each));
    terms.caveats.push_back(std::move(layer));
  }
  return terms;
}

}  // namespace hako::api
