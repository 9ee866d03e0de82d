"""Plants things without an owner, one of each kind, to show that they are found and removed."""

import json
import os
import socket
import sqlite3
import subprocess
import time


class Planted:
    """Plants on entry what `orphans()` must find and hako must remove; removes it on exit."""

    def __init__(self, hako):
        self.hako = hako
        self.process = None
        self.folder = "m399-planted00"
        self.slot = 398

    def everything(self):
        """Kind -> the word by which the report must name it."""
        return {
            "process": self._process(),
            "folder": self._folder(),
            "socket": self._socket(),
            "namespace": self._namespace(),
            "file": self._file(),
            "row": self._row(),
        }

    def _process(self):
        uid = self.hako.uid_base + 397
        self.process = subprocess.Popen(["sleep", "600"], user=uid, group=uid, extra_groups=[])
        return str(self.process.pid)

    def _folder(self):
        path = os.path.join(self.hako.state, "node", "vms", self.folder)
        os.mkdir(path)
        with open(os.path.join(path, "scratch.raw"), "w") as file:
            file.write("left behind")
        return self.folder

    def _socket(self):
        name = "m396-planted00"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(self.hako.run_dir, "vmm", name))
        return name

    def _namespace(self):
        path = os.path.join(self.hako.run_dir, "netns", f"slot-{self.slot}")
        open(path, "w").close()
        # Several, as some spare ones are right.
        for number in range(self.slot - 4, self.slot + 1):
            path = os.path.join(self.hako.run_dir, "netns", f"slot-{number}")
            open(path, "w").close()
            subprocess.run(["unshare", f"--net={path}", "true"], check=True)
        return str(self.slot)

    def _file(self):
        path = os.path.join(self.hako.state, "node", "snapshots", ".planted.tmp-000000")
        os.mkdir(path)
        old = time.time() - 7 * 3600
        os.utime(path, (old, old))
        return ".planted"

    def _row(self):
        """A sandbox of which the node knows nothing."""
        with sqlite3.connect(f"{self.hako.state}/api/hako.db") as database:
            columns = [row[1:5] for row in database.execute("PRAGMA table_info(sandboxes)")]
            values = {name: (0 if kind == "INTEGER" else "") for name, kind, *_ in columns}
            values.update(id="iplanted000000000000", state="running", template="base",
                          label="public", ends_ms=int(time.time() * 1000) + 3_600_000)
            if "tenant" in values:
                values["tenant"] = "default"
            database.execute(
                f"INSERT INTO sandboxes ({', '.join(values)}) "
                f"VALUES ({', '.join('?' * len(values))})", list(values.values()))
        database.close()
        return "iplanted000000000000"

    def lose_row(self, box):
        """A box of which the api knows nothing."""
        with sqlite3.connect(f"{self.hako.state}/api/hako.db") as database:
            database.execute("DELETE FROM sandboxes WHERE id = ?", (box,))
        database.close()

    def dead_record(self, machine):
        """A record of a machine whose VMM is no more and was never watched."""
        source = os.path.join(self.hako.state, "node", "vms", machine, "record.json")
        with open(source) as file:
            record = json.load(file)
        record.update(machine="m395-planted00", slot=395, box="iplanteddead0000000", pid=999999)
        folder = os.path.join(self.hako.state, "node", "vms", record["machine"])
        os.mkdir(folder)
        with open(os.path.join(folder, "record.json"), "w") as file:
            json.dump(record, file)
        return record["machine"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
