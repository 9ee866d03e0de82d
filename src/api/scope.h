// Which of all sandboxes and templates exist for whoever asks. Pure.
#pragma once

#include "api/principal.h"
#include "policy/permission.h"
#include "store/store.h"

namespace hako::api {

policy::BoxFacts facts_of(const store::SandboxRecord& record);
policy::TemplateFacts facts_of(const store::TemplateRecord& record);

/// Whether the sandbox exists for `who`. What they may do with it the route has asked already.
bool may_see(const Principal& who, const store::SandboxRecord& record, int64_t now_ms);

/// Leaves in `query` what exists for `who`.
void narrow(store::SandboxQuery& query, const Principal& who);

/// The labels of all that exists for `who`, as the store has them.
std::vector<std::string> visible_labels(const Principal& who);

/// Whether `who` may give a sandbox a life of so many seconds from now: against every layer.
/// Rules: "<layer>.ttl".
policy::Decision may_live(const Principal& who, int64_t ttl_s);
/// Whether `who` may move its end to then: no further from when it was made than a layer leaves it
/// life. The platform's is from now, whenever that is. Rules as above.
policy::Decision may_end_at(const Principal& who, const store::SandboxRecord& record,
                            int64_t ends_ms);
/// The latest for which may_end_at() says yes.
int64_t latest_end_ms(const Principal& who, const store::SandboxRecord& record);

}  // namespace hako::api
