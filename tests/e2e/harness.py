"""A hako of its own for a test: own state, ports, uids and namespaces, on the real programs.

Programs come from $HAKO_BIN_DIR, images from $HAKO_IMAGE_DIR.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

BIN = os.environ.get("HAKO_BIN_DIR") or os.path.join(
    os.path.dirname(__file__), "..", "..", "build", "release", "bin")
IMAGES = os.environ.get("HAKO_IMAGE_DIR", "/var/cache/hako/images")
HAKO = os.path.abspath(os.path.join(BIN, "hako"))
HAKOD = os.path.abspath(os.path.join(BIN, "hakod"))

# Snapshots that these programs have made of these images, for those hakos that come later: to boot is
# what most tests would wait for longest, and is tested where it matters.
SNAPSHOTS = os.path.abspath(os.path.join(BIN, "..", "test-snapshots"))


def claim_uids():
    """The first of 20,000 uids that no other test on this machine uses, and what holds the claim.

    The kernel lets go of a lock when its last holder ends, whichever way. A file's, as some tests
    are in a network namespace of their own, where names of sockets are theirs alone."""
    os.makedirs("/run/hako-e2e-uids", exist_ok=True)
    for slot in range(1000):
        claim = open(f"/run/hako-e2e-uids/{slot}", "w")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            claim.close()
            continue
        return 700_000 + slot * 20_000, claim
    raise AssertionError("all ranges of uids for tests are in use")


def copy_tree(source, target):
    subprocess.run(["cp", "-a", "--sparse=always", "--reflink=auto", source, target], check=True)


def lines_of(settings):
    """(section, line) of each line of a configuration that says something."""
    section = None
    for line in filter(None, map(str.strip, settings.splitlines())):
        if line.startswith("["):
            section = line.strip("[]")
        else:
            yield section, line


def free_ports(count):
    """Different ones."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def free_port():
    return free_ports(1)[0]


def uids_of(pid):
    """Real, effective, saved and file system uid of a process."""
    with open(f"/proc/{pid}/status") as file:
        return [int(uid) for line in file if line.startswith("Uid:") for uid in line.split()[1:]]


class Hako:
    """`hako up` with a configuration of its own. Use as a context manager.

    `gate`: a program to take for hako-gate. `variables` are added to the environment, and may be
    changed: they hold from the next start. `disk_mib`: its state is on a file system of its own."""

    def __init__(self, pool=2, settings="", images=IMAGES, prefix=(), gate=None, variables=None,
                 disk_mib=None):
        self.uid_base, self._uid_claim = claim_uids()
        self.state = tempfile.mkdtemp(prefix="hako-e2e-", dir="/var/tmp")
        if disk_mib:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_mib}m", "hako-e2e",
                            self.state], check=True)
        self.run_dir = tempfile.mkdtemp(prefix="hako-e2e-", dir="/run")
        os.chmod(self.state, 0o711)
        os.chmod(self.run_dir, 0o711)
        self.api_port, self.gate_port = free_ports(2)
        self.config = os.path.join(self.state, "hako.toml")
        self.base_settings = settings
        self.pool = pool
        self.images = images
        self.prefix = prefix
        self.variables = variables or {}
        self.program = self._programs_with(gate) if gate else HAKO
        self.write_config(settings)
        plain = not (gate or prefix or variables or disk_mib)
        self.snapshot = self._snapshot_key(settings) if plain else None
        if self.snapshot:
            self._take_snapshot()

    def _snapshot_key(self, settings):
        """Names what a snapshot depends on. (The node looks for itself, and makes it anew if not.)"""
        made_by = [(path, os.stat(path).st_mtime_ns) for path in (HAKO, HAKOD, BIN + "/hako-gate")]
        machine = sorted(line for section, line in lines_of(settings)
                         if section in ("template", "engine"))
        what = [made_by, os.path.realpath(os.path.join(self.images, "base")), machine]
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]

    def _take_snapshot(self):
        kept = os.path.join(SNAPSHOTS, self.snapshot)
        if os.path.isdir(kept):
            os.makedirs(os.path.join(self.state, "node"), mode=0o711)
            copy_tree(kept, os.path.join(self.state, "node", "snapshots"))
            self.snapshot = None

    def _leave_snapshot(self):
        """For later ones, once there is one."""
        made = os.path.join(self.state, "node", "snapshots")
        ready = glob.glob(os.path.join(made, "base.*", "binding.json"))
        if not self.snapshot or not ready:
            return
        kept, self.snapshot = os.path.join(SNAPSHOTS, self.snapshot), None
        os.makedirs(SNAPSHOTS, exist_ok=True)
        mine = tempfile.mkdtemp(prefix=".new-", dir=SNAPSHOTS)
        for path in ready:
            copy_tree(os.path.dirname(path), os.path.join(mine, os.path.basename(os.path.dirname(path))))
        try:
            os.rename(mine, kept)
        except OSError:
            shutil.rmtree(mine)  # another was first

    def write_config(self, settings=""):
        # A test's own sections must not repeat these: TOML takes each table once.
        sections = {
            "paths": [f'state = "{self.state}"', f'run = "{self.run_dir}"',
                      f'images = "{self.images}"'],
            "api": [f"port = {self.api_port}"],
            "gate": [f"port = {self.gate_port}"],
            "pool": [f"size = {self.pool}"],
            "users": [f"vmm_base = {self.uid_base}"],
        }
        for section, line in lines_of(settings):
            key = line.split("=")[0].strip()
            sections[section] = [l for l in sections.get(section, [])
                                 if l.split("=")[0].strip() != key] + [line]
        with open(self.config, "w") as file:
            for name, lines in sections.items():
                file.write(f"[{name}]\n" + "\n".join(lines) + "\n")

    def environment(self):
        clean = {k: v for k, v in os.environ.items()
                 if not k.startswith(("HAKO_", "E2B_"))}
        clean["HAKO_CONFIG"] = self.config
        return {**clean, **self.variables}

    def _programs_with(self, gate):
        """Copies of the programs, as each finds the others beside itself. The path of `hako`."""
        folder = os.path.join(self.state, "bin")
        os.mkdir(folder)
        for name, path in (("hako", HAKO), ("hakod", HAKOD), ("hako-gate", gate)):
            shutil.copy(path, os.path.join(folder, name))
        return os.path.join(folder, "hako")

    def cli(self, *words, check=True, input=None, timeout=120, text=True, prefix=()):
        """Runs `hako WORDS`, through the command `prefix` if there is one; the finished process."""
        done = subprocess.run([*prefix, self.program, *words], env=self.environment(), input=input,
                              capture_output=True, text=text, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"hako {' '.join(words)}: status {done.returncode}\n"
                                 f"{done.stdout}\n{done.stderr}\n{self.logs()}")
        return done

    def popen(self, *words, **options):
        return subprocess.Popen([self.program, *words], env=self.environment(), **options)

    def start(self):
        self.cli("up", timeout=180, prefix=self.prefix)
        self._leave_snapshot()
        return self

    def stop(self):
        self.cli("down", check=False, timeout=120)

    def wait_for_pool(self, count=None, seconds=90):
        count = self.pool if count is None else count
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            listed = json.loads(self.cli("template", "ls", "--json").stdout)
            templates = listed.get("templates", listed) if isinstance(listed, dict) else listed
            if any(t.get("pooled", 0) >= count for t in templates):
                return
            time.sleep(0.2)
        raise AssertionError("the pool does not fill\n" + self.logs())

    def key(self):
        with open(os.path.join(self.state, "api-key")) as file:
            return file.read().strip()

    def request(self, method, path, body=None, headers=None, key=True, port=None, timeout=60):
        """(status, headers, parsed or raw body) of a request to the api."""
        send = dict(headers or {})
        if key:
            send.setdefault("X-API-KEY", self.key())
        data = body
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
            send.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port or self.api_port}{path}", data=data, headers=send,
            method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                status, fields, raw = response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            status, fields, raw = error.code, error.headers, error.read()
        try:
            return status, fields, json.loads(raw) if raw else None
        except ValueError:
            return status, fields, raw

    def create(self, **body):
        body.setdefault("templateID", "base")
        body.setdefault("timeout", 120)
        status, _, sandbox = self.request("POST", "/v2/sandboxes", body)
        assert status == 201, (status, sandbox, self.logs())
        self._leave_snapshot()
        return sandbox

    def destroy(self, sandbox):
        return self.request("DELETE", f"/sandboxes/{sandbox['sandboxID']}")[0]

    def exec(self, box, *words, **options):
        return self.cli("exec", box, *options.pop("flags", ()), "--", *words, **options)

    def logs(self, lines=25):
        """The last lines of each role's log; everything with lines=None."""
        out = []
        folder = os.path.join(self.state, "log")
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), errors="replace") as file:
                text = file.readlines()
            out.append(f"--- {name}\n" + "".join(text if lines is None else text[-lines:]))
        return "\n".join(out)

    # What must not be left behind.

    def vmm_processes(self):
        """Pids under the VMM uids of this hako."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/status") as file:
                    status = dict(l.split(":", 1) for l in file)
                # A zombie only waits for whoever is PID 1 here.
                if status["State"].split()[0] == "Z":
                    continue
                uid = int(status["Uid"].split()[0])
            except (OSError, KeyError):
                continue
            if self.uid_base <= uid < self.uid_base + 10_000:
                found.append(int(name))
        return found

    def record_of(self, box):
        """What the node wrote down about the machine of a box."""
        for folder in self.vm_folders():
            path = os.path.join(self.state, "node", "vms", folder, "record.json")
            try:
                with open(path) as file:
                    record = json.load(file)
            except FileNotFoundError:
                continue  # a clone on its way into the pool, or a box that ends
            if record["box"] == box:
                return record
        raise AssertionError(f"no record of {box}")

    def role(self, name):
        """The pid of the node, the gate or the api."""
        with open(os.path.join(self.run_dir, "up.json")) as file:
            roles = json.load(file)["roles"]
        return next(role["process"]["pid"] for role in roles if role["name"] == name)

    def vm_folders(self):
        folder = os.path.join(self.state, "node", "vms")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def slot_mounts(self):
        with open("/proc/self/mountinfo") as file:
            return [line.split()[4] for line in file
                    if f"{self.run_dir}/netns/slot-" in line]

    def control_sockets(self):
        folder = os.path.join(self.run_dir, "vmm")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def leftovers(self):
        return {"processes": self.vmm_processes(), "folders": self.vm_folders(),
                "slots": self.slot_mounts(), "sockets": self.control_sockets()}

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        self.remove()

    def remove(self):
        with open("/proc/self/mountinfo") as file:
            mounts = [line.split()[4] for line in file
                      if self.run_dir in line or self.state in line]
        for mount in reversed(mounts):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        lock = f"/run/hako-uids-{self.uid_base}.lock"
        try:
            with open(lock) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(lock)
        except FileNotFoundError:
            pass
        except BlockingIOError:
            return  # a node that could not be stopped has them: they stay claimed
        self._uid_claim.close()
