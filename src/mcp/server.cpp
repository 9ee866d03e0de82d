#include "mcp/server.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "base/async/run_until.h"
#include "base/log.h"
#include "mcp/tool.h"

namespace hako::mcp {
namespace json = boost::json;

namespace {

constexpr const char* kInstructions =
    "Boxes are virtual machines of their own, for running commands and keeping files where they can "
    "do no harm. Make one with box_create and give its id to the other tools; box_kill ends it. "
    "What a box may reach is decided outside it: a connection that is refused will not work by "
    "trying again. Output and files that are long come in parts: read on where next_offset says.";

json::string_view seen(std::string_view text) {
  return {text.data(), text.size()};
}

/// A result as the protocol wants it: structured, and the same as text.
json::object tool_result(json::object structured) {
  json::object text;
  text["type"] = "text";
  text["text"] = json::serialize(structured);
  json::object result;
  result["content"] = json::array{std::move(text)};
  result["structuredContent"] = std::move(structured);
  result["isError"] = false;
  return result;
}

/// A failure that the model is to see, and can do something about.
json::object tool_failure(const Error& error) {
  json::object text;
  text["type"] = "text";
  text["text"] = std::string(to_string(error.code())) + ": " + error.message();
  json::object result;
  result["content"] = json::array{std::move(text)};
  result["isError"] = true;
  return result;
}

/// The progress token of a request, if it has one.
json::value progress_token(const json::object& params) {
  const json::value* meta = params.if_contains("_meta");
  const json::object* members = meta ? meta->if_object() : nullptr;
  const json::value* token = members ? members->if_contains("progressToken") : nullptr;
  return token && is_id(*token) ? *token : json::value();
}

json::value member_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(seen(name));
  return value ? *value : json::value();
}

std::string key_of(const std::string& conversation, const json::value& id) {
  return conversation + "\n" + json::serialize(id);
}

/// Runs a tool; what nobody expected is a failure of this call only.
Task<Result<json::object>> use(const Tool& tool, ToolCall call) {
  std::string fault;
  try {
    co_return co_await tool.handler(std::move(call));
  } catch (const boost::system::system_error& error) {
    if (error.code() == asio::error::operation_aborted) throw;
    fault = error.what();
  } catch (const asio::multiple_exceptions&) {
    throw;  // parallel waits, cancelled together
  } catch (const std::exception& error) {
    fault = error.what();
  }
  log_error("tool failed", {{"tool", seen(tool.name)}, {"error", fault}});
  co_return Error(ErrorCode::internal, "a fault of hako's own; its log says more");
}

}  // namespace

/// In the list of what runs, from construction to destruction.
class Server::Place {
 public:
  Place(std::map<std::string, std::shared_ptr<Running>>& all, std::string key)
      : all_(all), key_(std::move(key)), running_(std::make_shared<Running>()) {
    all_[key_] = running_;
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { all_.erase(key_); }

  const std::shared_ptr<Running>& running() const { return running_; }
  Task<void> wait_for_end() {
    while (!running_->ended) co_await running_->changed.wait();
  }

 private:
  std::map<std::string, std::shared_ptr<Running>>& all_;
  std::string key_;
  std::shared_ptr<Running> running_;
};

json::object answer_to_initialize(const Message& message) {
  json::value asked = member_of(message.params, "protocolVersion");
  if (!asked.is_string())
    return error_message(message.id, kInvalidParams, "'protocolVersion' must be a text");
  std::string_view version(asked.get_string().data(), asked.get_string().size());
  json::object tools;
  tools["listChanged"] = false;
  json::object capabilities;
  capabilities["tools"] = std::move(tools);
  json::object server;
  server["name"] = "hako";
  server["title"] = "hako";
  server["version"] = HAKO_VERSION;
  json::object result;
  result["protocolVersion"] = seen(negotiate(version));
  result["capabilities"] = std::move(capabilities);
  result["serverInfo"] = std::move(server);
  result["instructions"] = kInstructions;
  return result_message(message.id, std::move(result));
}

json::object answer_to_list(const Message& message) {
  // All of them are on the first page, so that nothing was given out to ask for another.
  if (message.params.contains("cursor"))
    return error_message(message.id, kInvalidParams, "there is no such cursor");
  json::array list;
  for (const Tool& tool : tools()) list.emplace_back(describe(tool));
  json::object result;
  result["tools"] = std::move(list);
  return result_message(message.id, std::move(result));
}

Task<std::optional<json::object>> Server::handle(Message message, std::string conversation,
                                                 Upstream upstream, Notify notify) {
  std::optional<json::object> answer;
  if (message.kind == Message::Kind::response) co_return answer;
  if (message.kind == Message::Kind::notification) {
    if (message.method == "notifications/cancelled") cancel(conversation, message.params);
    co_return answer;
  }
  if (message.method == "initialize") {
    answer = answer_to_initialize(message);
  } else if (message.method == "ping") {
    answer = result_message(message.id, json::object());
  } else if (message.method == "tools/list") {
    answer = answer_to_list(message);
  } else if (message.method == "tools/call") {
    answer = co_await call_tool(message, conversation, upstream, notify);
  } else {
    answer = error_message(message.id, kMethodNotFound,
                           "there is no method '" + quotable(message.method) + "' here");
  }
  co_return answer;
}

Task<std::optional<json::object>> Server::call_tool(const Message& message,
                                                    const std::string& conversation,
                                                    const Upstream& upstream,
                                                    const Notify& notify) {
  json::value name = member_of(message.params, "name");
  json::value values = member_of(message.params, "arguments");
  if (!name.is_string())
    co_return error_message(message.id, kInvalidParams, "'name' must be the name of a tool");
  std::string_view named(name.get_string().data(), name.get_string().size());
  const Tool* tool = find_tool(named);
  if (!tool)
    co_return error_message(message.id, kInvalidParams,
                            "Unknown tool: '" + quotable(named) + "'");
  if (values.is_null()) values = json::object();
  if (!values.is_object())
    co_return error_message(message.id, kInvalidParams, "'arguments' must be an object");
  std::string key = key_of(conversation, message.id);
  if (running_.contains(key))
    co_return error_message(message.id, kInvalidRequest, "a request with this id is under way");
  auto arguments = Arguments::check(tool->parameters, std::move(values.get_object()));
  if (!arguments) {
    auto failure = tool_failure(arguments.error());
    co_return result_message(message.id, std::move(failure));
  }

  Place place(running_, std::move(key));
  auto running = place.running();
  Api api(upstream);
  std::function<void(double, std::string)> progress;
  json::value token = progress_token(message.params);
  if (!token.is_null() && notify) {
    progress = [&notify, &token](double value, std::string text) {
      json::object params;
      params["progressToken"] = token;
      params["progress"] = value;
      params["message"] = text;
      notify(notification_message("notifications/progress", std::move(params)));
    };
  }
  ToolCall call{api, upstream, arguments.value(), std::move(progress), running->ended};
  auto using_it = use(*tool, std::move(call));
  auto ended = place.wait_for_end();
  auto outcome = co_await run_until(std::move(ended), std::move(using_it));
  std::optional<json::object> answer;
  // Nobody waits for the answer to a request that was cancelled, even if it is there by now.
  if (running->ended || !outcome) co_return answer;
  auto result = *outcome ? tool_result(std::move(outcome->value())) : tool_failure(outcome->error());
  answer = result_message(message.id, std::move(result));
  co_return answer;
}

void Server::cancel(const std::string& conversation, const json::object& params) {
  json::value id = member_of(params, "requestId");
  if (!is_id(id)) return;
  // It may have been answered meanwhile, and then there is nothing to cancel.
  auto found = running_.find(key_of(conversation, id));
  if (found == running_.end()) return;
  found->second->ended = true;
  found->second->changed.notify_all();
}

void Server::end(const std::string& conversation) {
  std::string begin = conversation + "\n";
  for (auto& [key, running] : running_) {
    if (!key.starts_with(begin)) continue;
    running->ended = true;
    running->changed.notify_all();
  }
}

}  // namespace hako::mcp
