"""Plants things without an owner, one of each kind, to show that they are found and removed."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time

from inventory import cgroup_trees
from node_client import NodeClient


class Planted:
    """Plants what `orphans()` must find and hako must remove. What is never hako's own to remove it
    takes away on exit."""

    def __init__(self, hako):
        self.hako = hako
        self.process = self.freed = None
        self.mount = os.path.join(hako.run_dir, "planted")
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
            "cgroup": self._cgroup(),
        }

    def kept_state(self, box):
        """A checkpoint of which the api has no record, and a base that nothing stands on."""
        node = NodeClient(self.hako)
        node.call("box.checkpoint", box=box, checkpoint="s-planted", memory=True, then="run")
        node.close()
        base = os.path.join(self.hako.state, "node", "bases", "planted")
        os.mkdir(base)
        with open(os.path.join(base, "base.json"), "w") as file:
            file.write("{}")
        return {"checkpoint": "s-planted", "base": "planted"}

    def parts_of_templates(self):
        """What only a crash leaves, as kind -> word: the next start of the node removes it."""
        at = os.path.join(self.hako.state, "node")
        base = next(n for n in os.listdir(f"{at}/snapshots") if n.startswith("base."))
        with open(f"{at}/snapshots/{base}/binding.json") as file:
            revision = json.load(file)["revision"]
        os.mkdir(f"{at}/templates/planted")
        with open(f"{at}/templates/planted/template.json", "w") as file:
            json.dump({"name": "planted", "memory_mib": 256, "vcpus": 1, "disk_mib": 128,
                       "revision": f"0@{revision}", "root": "", "created_ms": 0}, file)
        shutil.copytree(f"{at}/snapshots/{base}", f"{at}/snapshots/gone.256m1c")
        with open(f"{at}/snapshots/gone.256m1c/id", "w") as file:
            file.write("planted")  # no machine stands on it
        with open(f"{at}/roots/planted", "w") as file:
            file.write("left behind")
        return {"template": "planted", "snapshot": "gone.256m1c", "root": "planted"}

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

    def _cgroup(self):
        name = "box-m394-planted00"
        trees = cgroup_trees(self.hako)
        assert trees, "this hako has no control groups"
        for tree in trees:
            os.makedirs(os.path.join(tree, "tenant-planted", name))
        return name

    def what_nobody_else_makes(self):
        """Kind -> word, of what hako itself cannot leave: a mount elsewhere than for its
        namespaces, a namespace with one link too many, and a VMM outside of its groups."""
        os.mkdir(self.mount)
        subprocess.run(["mount", "-t", "tmpfs", "planted", self.mount], check=True)
        mounts = self.hako.slot_mounts()
        subprocess.run(["nsenter", f"--net={mounts[0]}", "ip", "tuntap", "add", "planted", "mode",
                        "tap"], check=True)
        self.freed = self._free_a_vmm()
        return {"mount": self.mount, "tap": "planted", "limits": str(self.freed[0])}

    def _free_a_vmm(self):
        """Its pid, and where it was."""
        inside = []
        for pid in self.hako.vmm_processes():
            with open(f"/proc/{pid}/cgroup") as file:
                inside = [line.strip().split(":", 2)[2] for line in file if "/box-" in line]
            if inside:
                break
        for tree in cgroup_trees(self.hako):
            self._move(pid, os.path.dirname(os.path.dirname(tree)))
        return pid, {path.split("/", 3)[3] for path in inside}

    def _move(self, pid, folder):
        with open(os.path.join(folder, "cgroup.procs"), "w") as file:
            file.write(str(pid))

    def take_away_what_nobody_else_makes(self):
        for tree in cgroup_trees(self.hako) if self.freed else ():
            for group in filter(os.path.isdir, (os.path.join(tree, g) for g in self.freed[1])):
                self._move(self.freed[0], group)
        self.freed = None
        if os.path.ismount(self.mount):
            subprocess.run(["umount", self.mount], check=True)
            os.rmdir(self.mount)
        for mount in self.hako.slot_mounts():
            subprocess.run(["nsenter", f"--net={mount}", "ip", "link", "del", "planted"],
                           check=False, stderr=subprocess.DEVNULL)

    def extra_clone(self, machine):
        """One clone more than the pool has places: that of a machine which is there already."""
        return self._copy_record(machine, machine="m393-planted00", slot=393)

    def late_box(self, machine):
        """A box that should have ended an hour ago."""
        return self._copy_record(machine, machine="m392-planted00", slot=392, state="box",
                                 box="iplantedlate0000000",
                                 ends_ms=int((time.time() - 3600) * 1000))

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
        return self._copy_record(machine, machine="m395-planted00", slot=395,
                                 box="iplanteddead0000000", pid=999999)

    def _copy_record(self, of, **changes):
        source = os.path.join(self.hako.state, "node", "vms", of, "record.json")
        with open(source) as file:
            record = json.load(file)
        record.update(changes)
        folder = os.path.join(self.hako.state, "node", "vms", record["machine"])
        os.mkdir(folder)
        with open(os.path.join(folder, "record.json"), "w") as file:
            json.dump(record, file)
        return record["machine"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.take_away_what_nobody_else_makes()
        if self.process:
            self.process.kill()
            self.process.wait()
