#include "store/sandbox_filter.h"

namespace hako::store {

SandboxFilter filter_of(const SandboxQuery& query) {
  SandboxFilter filter;
  // The end of a paused one is when it was paused.
  const std::string paused = query.paused ? "state IN ('pausing', 'paused', 'resuming')" : "0";
  if (query.running) {
    filter.add("((state = 'running' AND ends_ms > ?) OR " + paused + ")", {query.alive_at_ms});
  } else {
    filter.add(paused, {});
  }
  if (query.started_from_ms) filter.add("started_ms >= ?", {*query.started_from_ms});
  if (query.template_name) {
    filter.add("(template = ? OR alias = ?)", {*query.template_name, *query.template_name});
  }
  for (const auto& [key, value] : query.metadata) {
    // An empty text is no JSON; json_each takes NULL for "nothing there".
    filter.add(
        "EXISTS (SELECT 1 FROM json_each(nullif(metadata, '')) AS pair"
        " WHERE pair.key = ? AND pair.value = ?)",
        {key, value});
  }
  if (query.labels) filter.add_one_of("label", *query.labels);
  if (query.ids) filter.add_one_of("id", *query.ids);
  if (query.tenant) filter.add("tenant = ?", {*query.tenant});
  if (!query.agent.empty()) {
    // What begins with the agent and '/': '0' is the character behind it. LIKE would take '_' of a
    // name for any character.
    filter.add("(agent = ? OR (agent > ? AND agent < ?))",
               {query.agent, query.agent + "/", query.agent + "0"});
  }
  return filter;
}

}  // namespace hako::store
