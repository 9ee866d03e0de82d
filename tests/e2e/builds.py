"""Building templates over the API, as E2B's clients do."""

import time
import urllib.request


class Builds:
    """For test cases that have a running hako as `self.hako`."""

    def call(self, expected, method, path, body=None, **options):
        status, _, answer = self.hako.request(method, path, body, **options)
        self.assertEqual(status, expected, (answer, self.hako.logs()))
        return answer

    def upload(self, template, name, content):
        link = self.call(201, "GET", f"/templates/{template}/files/{name}")
        if not link["present"]:
            put = urllib.request.Request(link["url"], data=content, method="PUT")
            with urllib.request.urlopen(put, timeout=60) as answer:
                self.assertEqual(answer.status, 200)
        return link["present"]

    def start(self, name, uploads=None, **recipe):
        made = self.call(202, "POST", "/v3/templates", {"name": name})
        for hash, content in (uploads or {}).items():
            self.upload(made["templateID"], hash, content)
        recipe.setdefault("force", False)
        recipe["steps"] = [dict(step, force=step.get("force", False))
                           for step in recipe.get("steps", [])]
        self.call(202, "POST", f"/v2/templates/{made['templateID']}/builds/{made['buildID']}",
                  recipe)
        return made

    def finish(self, made):
        """(status answer, all messages), polled as the clients poll."""
        path = f"/templates/{made['templateID']}/builds/{made['buildID']}/status"
        log, end = [], time.monotonic() + 100
        while time.monotonic() < end:
            answer = self.call(200, "GET", f"{path}?logsOffset={len(log)}")
            self.assertEqual(answer["logs"], [e["message"] for e in answer["logEntries"]])
            log += answer["logEntries"]
            if answer["status"] in ("ready", "error") and not answer["logEntries"]:
                return answer, [entry["message"] for entry in log]
            time.sleep(0.1)
        raise AssertionError("the build does not end\n" + self.hako.logs())

    def build(self, name, uploads=None, **recipe):
        made = self.start(name, uploads, **recipe)
        answer, log = self.finish(made)
        self.assertEqual(answer["status"], "ready", f"{answer}\n{log}\n{self.hako.logs()}")
        return made, log

    def shell(self, sandbox, command):
        return self.hako.exec(sandbox["sandboxID"], "sh", "-c", command).stdout
