#include "wire/model_call.h"

#include <algorithm>
#include <array>
#include <set>
#include <span>

#include "wire/json_scan.h"

namespace hako::wire {
namespace {

using JsonKind = JsonScanner::Kind;

constexpr size_t kLongestModel = 128;
constexpr size_t kLongestExtra = 80;
constexpr int64_t kMostOutput = 1'000'000'000;
constexpr int64_t kMostAnswers = 1000;
/// A conversation has some thousands; reading more would be somebody's way to keep us busy.
constexpr size_t kMostValues = 500'000;
/// Without what spellings differ in, no name that decides is longer.
constexpr size_t kLongestDecisive = 64;

// Paths of requests.

Error not_counted(std::string_view what) {
  return Error(ErrorCode::permission_denied,
               "this call of the model's API cannot be counted, and so it is refused: " +
                   std::string(what));
}

/// Whether a server must read the path as we do: nothing encoded, no empty or dotted step.
bool is_plain_path(std::string_view path) {
  if (path.empty() || path.front() != '/' || path.size() > 512) return false;
  bool plain = std::all_of(path.begin(), path.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("/-._~:@").find(c) != std::string_view::npos;
  });
  for (auto wrong : {"//", "/./", "/../"}) plain = plain && path.find(wrong) == path.npos;
  return plain && !path.ends_with("/.") && !path.ends_with("/..");
}

/// Lists and descriptions of models: ".../models" and ".../models/NAME".
bool is_model_list(std::string_view path) {
  size_t at = path.rfind("/models");
  if (at == path.npos) return false;
  std::string_view rest = path.substr(at + std::string_view("/models").size());
  return rest.empty() || (rest.front() == '/' && rest.find(':') == rest.npos);
}

bool is_model_name(std::string_view name) {
  return !name.empty() && name.size() <= kLongestModel &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

Result<ModelRoute> route_gemini(std::string_view path) {
  size_t colon = path.find(':');
  if (colon == path.npos) return not_counted("unknown path");
  std::string_view verb = path.substr(colon + 1);
  size_t slash = path.rfind('/', colon);
  std::string_view name = path.substr(slash + 1, colon - slash - 1);
  std::string_view before = path.substr(0, slash);
  bool generates = verb == "generateContent" || verb == "streamGenerateContent";
  if (!before.ends_with("/models") || !is_model_name(name)) return not_counted("unknown path");
  ModelRoute route;
  route.dialect = ModelDialect::generate;
  route.free = verb == "countTokens";
  route.model = name;
  route.stream = verb == "streamGenerateContent";
  if (!generates && !route.free) return not_counted("unknown path");
  return route;
}

/// The model of ".../deployments/NAME/chat/completions" and ".../engines/NAME/...": servers that have
/// such paths go by them, whatever the body says.
std::string_view model_in_path(std::string_view path) {
  for (std::string_view mark : {"/deployments/", "/engines/"}) {
    size_t at = path.find(mark);
    if (at == path.npos) continue;
    std::string_view rest = path.substr(at + mark.size());
    return rest.substr(0, rest.find('/'));
  }
  return {};
}

// Bodies of requests.

/// As servers might read it that take names in several spellings.
std::string folded(std::string_view path) {
  std::string result;
  for (char c : path) {
    if (c == '_' || c == '-') continue;
    result += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return result;
}

/// A member that decides what a call costs: it may be there once, and in these spellings.
struct Decisive {
  std::string_view path;
  std::string_view other = {};  ///< a second spelling
};

constexpr Decisive kMessagesMembers[] = {
    {"/model"}, {"/stream"}, {"/max_tokens"}, {"/thinking"}, {"/thinking/budget_tokens"},
    {"/service_tier"}, {"/speed"}};
constexpr Decisive kChatMembers[] = {
    {"/model"}, {"/stream"}, {"/max_tokens"}, {"/max_completion_tokens"}, {"/n"}, {"/best_of"},
    {"/stream_options"}, {"/stream_options/include_usage"}, {"/service_tier"}, {"/modalities"}};
constexpr Decisive kResponsesMembers[] = {
    {"/model"}, {"/stream"}, {"/max_output_tokens"}, {"/background"}, {"/service_tier"},
    {"/modalities"}};
constexpr Decisive kGenerateMembers[] = {
    {"/model"},
    {"/generationConfig", "/generation_config"},
    {"/generationConfig/maxOutputTokens", "/generation_config/max_output_tokens"},
    {"/generationConfig/candidateCount", "/generation_config/candidate_count"},
    {"/generationConfig/responseModalities", "/generation_config/response_modalities"}};

std::span<const Decisive> decisive_members(ModelDialect dialect) {
  switch (dialect) {
    case ModelDialect::messages:
      return kMessagesMembers;
    case ModelDialect::chat:
      return kChatMembers;
    case ModelDialect::responses:
      return kResponsesMembers;
    case ModelDialect::generate:
      break;
  }
  return kGenerateMembers;
}

/// Tools that the client runs, by their types; of others the provider is the one that does something.
bool is_client_tool(ModelDialect dialect, std::string_view type) {
  static constexpr std::string_view kPlain[] = {"function",    "custom",      "local_shell",
                                                "apply_patch", "tool_search", "namespace"};
  static constexpr std::string_view kDated[] = {"bash_", "text_editor_", "computer_", "memory_",
                                                "tool_search_tool_"};
  auto is = [&](std::string_view name) { return type == name; };
  auto begins = [&](std::string_view name) { return type.starts_with(name); };
  if (dialect == ModelDialect::messages) {
    return type == "custom" || std::any_of(std::begin(kDated), std::end(kDated), begins);
  }
  return std::any_of(std::begin(kPlain), std::end(kPlain), is);
}

/// Types of content whose tokens are not bounded by its bytes.
bool is_opaque_type(std::string_view type) {
  for (std::string_view part : {"image", "document", "file", "audio", "video", "reference",
                                "container", "compaction"}) {
    if (type.find(part) != type.npos) return true;
  }
  return false;
}

bool takes_media(ModelDialect dialect) {
  return dialect == ModelDialect::chat || dialect == ModelDialect::responses;
}

/// Parts of a chat that hold something else than text: there are servers that want no type beside it.
bool is_media_member(std::string_view name) {
  for (std::string_view end : {"/imageurl", "/imageembeds", "/imagepil", "/videourl", "/audiourl",
                               "/inputaudio"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

/// The member, or something in it.
bool is_or_in(std::string_view path, std::string_view member) {
  return path.starts_with(member) && (path.size() == member.size() || path[member.size()] == '/');
}

/// Takes `step` off the beginning of a path, as often as it is there.
std::string_view without_leading(std::string_view path, std::string_view step) {
  while (is_or_in(path, step)) path.remove_prefix(step.size());
  return path;
}

class RequestReader {
 public:
  RequestReader(const ModelRoute& route, ModelRequest& request)
      : route_(route), request_(request) {}

  void visit(std::string_view path, const JsonScanner::Value& value) {
    if (!problem_.empty()) return;
    if (route_.dialect == ModelDialect::responses) look_for_reference(path, value);
    if (value.kind == JsonKind::end) return;
    // A name that cannot be told from "model" by everybody must not be there at all.
    if (path == "/?" || path == "/generationConfig/?" || path == "/generation_config/?" ||
        path == "/stream_options/?" || path == "/thinking/?") {
      return refuse("it has a member with an unusual name");
    }
    if (++values_ > kMostValues) return refuse("it has too many parts");
    std::string name = folded(path);
    if (name.size() <= kLongestDecisive) check_spelling(path, name);
    take_member(path, name, value);
    take_content(name, value);
    take_tools(path, name, value);
  }

  Result<void> finish() {
    if (problem_.empty() && request_.model.empty()) refuse("it names no model");
    if (!problem_.empty()) {
      return Error(ErrorCode::invalid_argument,
                   "this call cannot be counted, and so it is refused: " + problem_);
    }
    int64_t most = std::max(most_output_, thinking_);
    if (most_output_ > 0) request_.max_output_tokens = most * answers_;
    request_.answers = answers_;
    request_.hides_usage =
        route_.dialect == ModelDialect::chat && request_.stream && !include_usage_;
    if (request_.hides_usage && seen_.contains("/streamoptions")) {
      return Error(ErrorCode::invalid_argument,
                   "this call cannot be counted, and so it is refused: 'stream_options' must have "
                   "'include_usage', or not be there");
    }
    request_.extras.assign(extras_.begin(), extras_.end());
    return ok();
  }

 private:
  void refuse(std::string why) {
    if (problem_.empty()) problem_ = std::move(why);
  }

  void check_spelling(std::string_view path, const std::string& name) {
    for (const Decisive& member : decisive_members(route_.dialect)) {
      if (name != folded(member.path)) continue;
      if (path != member.path && path != member.other) {
        refuse("'" + std::string(path) + "' is no usual spelling");
      } else if (!seen_.insert(name).second) {
        refuse("'" + std::string(path) + "' is there twice");
      }
    }
  }

  /// A count that may not be more than `most`; below 1 it is none.
  int64_t natural(std::string_view path, const JsonScanner::Value& value, int64_t most) {
    if (value.kind == JsonKind::integer && value.integer >= 1 && value.integer <= most) {
      return value.integer;
    }
    refuse("'" + std::string(path) + "' must be a positive integer of a usual size");
    return 1;
  }

  bool flag(std::string_view path, const JsonScanner::Value& value) {
    if (value.kind == JsonKind::boolean) return value.flag;
    refuse("'" + std::string(path) + "' must be true or false");
    return false;
  }

  void take_member(std::string_view path, const std::string& name,
                   const JsonScanner::Value& value) {
    bool gemini = route_.dialect == ModelDialect::generate;
    if (name == "/model" && !route_.model.empty()) {
      // The path names it; a body that names another is a trick.
      if (value.kind != JsonKind::text || value.cut ||
          (value.text != route_.model && value.text != "models/" + route_.model)) {
        refuse("'model' is not what the path says");
      }
      return;
    }
    if (value.kind == JsonKind::null) return;
    if (name == "/model") {
      if (value.kind != JsonKind::text || value.cut || !is_model_name(value.text)) {
        return refuse("'model' must be the name of a model");
      }
      request_.model = value.text;
    } else if (name == "/stream" && !gemini) {
      request_.stream = flag(path, value);
    } else if (is_output_limit(name)) {
      most_output_ = std::max(most_output_, natural(path, value, kMostOutput));
    } else if (name == "/thinking/budgettokens") {
      thinking_ = natural(path, value, kMostOutput);
    } else if (name == "/n" || name == "/bestof" || name == "/generationconfig/candidatecount") {
      answers_ = std::max(answers_, natural(path, value, kMostAnswers));
    } else if (name == "/streamoptions/includeusage") {
      include_usage_ = flag(path, value);
    } else if (name == "/background" && route_.dialect == ModelDialect::responses) {
      if (flag(path, value)) refuse("it ends before it is answered ('background')");
    } else {
      take_extra_member(path, name, value);
    }
  }

  bool is_output_limit(const std::string& name) const {
    switch (route_.dialect) {
      case ModelDialect::messages:
        return name == "/maxtokens";
      case ModelDialect::chat:
        return name == "/maxtokens" || name == "/maxcompletiontokens";
      case ModelDialect::responses:
        return name == "/maxoutputtokens";
      case ModelDialect::generate:
        break;
    }
    return name == "/generationconfig/maxoutputtokens";
  }

  /// Members beside the tools that cost or reach out.
  void take_extra_member(std::string_view path, const std::string& name,
                         const JsonScanner::Value& value) {
    if (name == "/servicetier" || name == "/speed") {
      for (std::string_view usual : {"auto", "default", "standard_only", "standard", "flex"}) {
        if (value.text == usual) return;
      }
      add_extra(name == "/speed" ? "speed=" : "service_tier=", value.text);
    } else if (name == "/inferencegeo") {
      if (value.text != "global") add_extra("inference_geo=", value.text);
    } else if (is_or_in(name, "/modalities") ||
               is_or_in(name, "/generationconfig/responsemodalities")) {
      // Some servers take one where a list belongs.
      bool list = value.kind == JsonKind::array;
      if (!list && folded(value.text) != "text") add_extra("modalities=", value.text);
    } else if (name == "/mcpservers" || name == "/container" || name == "/plugins" ||
               name == "/websearchoptions" || name == "/prompt" || name == "/models" ||
               name == "/fallbacks") {
      // The last two: another model may answer, which nobody has looked at.
      add_extra(path.substr(1), "");
    } else if (name == "/contextmanagement/edits/[]/type") {
      // What a model is made to write in between is not among the counts of the answer.
      if (!value.text.starts_with("clear_")) add_extra("context_management=", value.text);
    } else if (name == "/previousresponseid" || name == "/conversation" ||
               name == "/cachedcontent") {
      request_.opaque_input = true;
    }
  }

  /// What stands in messages.
  void take_content(const std::string& name, const JsonScanner::Value& value) {
    bool gemini = route_.dialect == ModelDialect::generate;
    if (name.starts_with("/tools/")) return;
    auto ends = [&](std::string_view with) { return std::string_view(name).ends_with(with); };
    if (ends("/type") && value.kind == JsonKind::text && is_opaque_type(value.text)) {
      request_.opaque_input = true;
    }
    if (gemini && (ends("/inlinedata") || ends("/filedata"))) request_.opaque_input = true;
    if (ends("/fileid")) request_.opaque_input = true;
    if (takes_media(route_.dialect) && is_media_member(name)) request_.opaque_input = true;
    if (value.kind != JsonKind::text || value.text.starts_with("data:")) return;
    // What a model has given a tool, or got from one, may have any form.
    bool free_form = route_.dialect == ModelDialect::messages
                         ? name.find("/content/[]/input/") != name.npos
                         : name.find("/args/") != name.npos || name.find("/response/") != name.npos;
    if (free_form) return;
    static constexpr std::string_view kMessages[] = {"/source/url"};
    static constexpr std::string_view kOpenAi[] = {"/imageurl", "/imageurl/url", "/fileurl",
                                                   "/videourl", "/videourl/url", "/audiourl/url",
                                                   "/serverurl"};
    static constexpr std::string_view kGenerate[] = {"/filedata/fileuri"};
    std::span<const std::string_view> places = kOpenAi;
    if (route_.dialect == ModelDialect::messages) places = kMessages;
    if (gemini) places = kGenerate;
    if (std::any_of(places.begin(), places.end(), ends)) add_extra("url", "");
  }

  void take_tools(std::string_view path, const std::string& name,
                  const JsonScanner::Value& value) {
    // What is said can bring tools, too.
    std::string_view of_tools = name, told = path;
    if (route_.dialect == ModelDialect::responses && is_or_in(name, "/input/[]/tools")) {
      constexpr std::string_view kItem = "/input/[]";
      of_tools.remove_prefix(kItem.size());
      told.remove_prefix(kItem.size());
    }
    if (!is_or_in(of_tools, "/tools") || value.kind == JsonKind::null) return;
    if (route_.dialect == ModelDialect::generate) return take_generate_tool(told, value);
    if (of_tools == "/tools" && value.kind != JsonKind::array) {
      return refuse("'tools' must be a list");
    }
    // Tools may come in groups, and these in groups.
    for (size_t before = 0; before != of_tools.size();) {
      before = of_tools.size();
      of_tools = without_leading(without_leading(of_tools, "/tools"), "/[]");
    }
    if (of_tools != "/type") return;
    if (value.kind != JsonKind::text) return refuse("the type of a tool must be a text");
    if (!is_client_tool(route_.dialect, value.text)) add_extra(value.text, "");
  }

  /// Its servers take one tool where a list of them belongs.
  void take_generate_tool(std::string_view path, const JsonScanner::Value& value) {
    std::string_view tool = path.substr(std::min(path.find('/', 1), path.size()));
    tool = without_leading(tool, "/[]");
    if (tool.empty()) {
      bool holds = value.kind == JsonKind::array || value.kind == JsonKind::object;
      if (!holds) refuse("'tools' must be a list");
      return;
    }
    tool.remove_prefix(1);
    if (tool.find('/') != tool.npos) return;
    if (folded(tool) != "functiondeclarations") add_extra(tool, "");
  }

  /// An item that is nothing but a name stands for one that the provider keeps, of whatever length.
  void look_for_reference(std::string_view path, const JsonScanner::Value& value) {
    constexpr std::string_view kItem = "/input/[]";
    if (!path.starts_with(kItem)) return;
    std::string member = folded(path.substr(kItem.size()));
    if (member.empty() && value.kind == JsonKind::end) {
      if (item_is_named_ && !item_has_kind_) request_.opaque_input = true;
    } else if (member.empty()) {
      item_is_named_ = item_has_kind_ = false;
    } else if (value.kind == JsonKind::text) {
      item_is_named_ = item_is_named_ || member == "/id";
      item_has_kind_ = item_has_kind_ || member == "/type" || member == "/role";
    }
  }

  void add_extra(std::string_view name, std::string_view value) {
    std::string extra;
    for (char c : std::string(name) + std::string(value)) {
      if (extra.size() < kLongestExtra) extra += c > ' ' && c < 0x7f ? c : '?';
    }
    if (extra.empty()) extra = "?";
    extras_.insert(std::move(extra));
    if (extras_.size() > kMostExtras) refuse("it asks for too much that is unusual");
  }

  const ModelRoute& route_;
  ModelRequest& request_;
  std::set<std::string> seen_;
  std::set<std::string> extras_;
  std::string problem_;
  int64_t most_output_ = 0;
  int64_t thinking_ = 0;
  int64_t answers_ = 1;
  bool include_usage_ = false;
  bool item_is_named_ = false, item_has_kind_ = false;
  size_t values_ = 0;
};

}  // namespace

std::string_view to_string(ModelApi api) {
  switch (api) {
    case ModelApi::anthropic:
      return "anthropic";
    case ModelApi::openai:
      return "openai";
    case ModelApi::gemini:
      break;
  }
  return "gemini";
}

std::optional<ModelApi> parse_model_api(std::string_view name) {
  for (ModelApi api : {ModelApi::anthropic, ModelApi::openai, ModelApi::gemini}) {
    if (name == to_string(api)) return api;
  }
  return std::nullopt;
}

Result<ModelRoute> route_model_request(ModelApi api, std::string_view method,
                                       std::string_view target) {
  std::string_view path = target.substr(0, target.find_first_of("?#"));
  if (!is_plain_path(path)) return not_counted("unusual path");
  ModelRoute route;
  if (method == "GET" && is_model_list(path)) {
    route.free = true;
    return route;
  }
  if (method != "POST") return not_counted("unknown path");
  if (api == ModelApi::gemini) return route_gemini(path);
  if (api == ModelApi::anthropic) {
    route.dialect = ModelDialect::messages;
    route.free = path.ends_with("/messages/count_tokens");
    if (!route.free && !path.ends_with("/messages")) return not_counted("unknown path");
    return route;
  }
  route.model = model_in_path(path);
  if (path.ends_with("/chat/completions")) {
    route.dialect = ModelDialect::chat;
  } else if (path.ends_with("/responses") || path.ends_with("/responses/compact")) {
    route.dialect = ModelDialect::responses;
  } else if (path.ends_with("/responses/input_tokens")) {
    route.free = true;
  } else {
    return not_counted("unknown path");
  }
  return route;
}

struct ModelRequestScan::Reading {
  explicit Reading(ModelRoute of)
      : route(std::move(of)),
        reader(route, request),
        scanner([this](std::string_view path, const JsonScanner::Value& value) {
          if (path.empty() && value.kind != JsonKind::end) object = value.kind == JsonKind::object;
          reader.visit(path, value);
        }) {
    request.model = route.model;
    request.stream = route.stream;
  }

  ModelRoute route;
  ModelRequest request;
  RequestReader reader;
  JsonScanner scanner;
  bool object = false;
  bool is_json = true;
};

ModelRequestScan::ModelRequestScan(ModelRoute route)
    : reading_(std::make_unique<Reading>(std::move(route))) {}
ModelRequestScan::ModelRequestScan(ModelRequestScan&&) noexcept = default;
ModelRequestScan::~ModelRequestScan() = default;

void ModelRequestScan::feed(std::string_view piece) {
  reading_->is_json = reading_->is_json && reading_->scanner.feed(piece);
}

Result<ModelRequest> ModelRequestScan::finish() {
  if (!reading_->is_json || !reading_->scanner.finish() || !reading_->object) {
    return Error(ErrorCode::invalid_argument,
                 "this call cannot be counted, and so it is refused: its body is no JSON object");
  }
  HAKO_TRYV(reading_->reader.finish());
  return std::move(reading_->request);
}

Result<ModelRequest> parse_model_request(const ModelRoute& route, std::string_view body) {
  ModelRequestScan scan(route);
  scan.feed(body);
  return scan.finish();
}

std::string with_usage_asked(std::string_view body) {
  constexpr std::string_view kAsked = R"("stream_options":{"include_usage":true},)";
  std::string result(body);
  result.insert(result.find('{') + 1, kAsked);
  return result;
}

}  // namespace hako::wire
