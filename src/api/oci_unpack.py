"""Unpacks an image archive (OCI, or as `docker save` writes it) into a root file system.

Runs as root in a box made for it, never on a host: whatever the archive tries, it tries there.
Usage: ARCHIVE ROOT. The last line of its output is {"user", "workdir", "envs"} as JSON.
"""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tarfile

archive_path, root = sys.argv[1:3]
TOOLS = "/.hako-tools"  # where the tools of this box are seen from inside the root
LIBRARIES = f"{TOOLS}/usr/lib/x86_64-linux-gnu"
MOST_DESCRIPTION = 16 << 20


def fail(text):
    sys.exit("the image cannot be unpacked: " + text)


archive = tarfile.open(archive_path, "r:*")
members = {os.path.normpath(member.name): member for member in archive if member.isfile()}


def open_member(name):
    member = members.get(os.path.normpath(name))
    if member is None:
        fail(f"{name} is missing in the archive")
    return archive.extractfile(member)


def read_json(name):
    return json.loads(open_member(name).read(MOST_DESCRIPTION))


def blob_name(digest):
    method, _, value = digest.partition(":")
    if method != "sha256" or len(value) != 64:
        fail(f"{digest} is no sha256 digest")
    return f"blobs/sha256/{value}"


def find_manifest():
    """(configuration, names of the layers' members, their digests) for this machine."""
    if "index.json" not in members:
        if "manifest.json" not in members:
            fail("it holds neither index.json nor manifest.json")
        first = read_json("manifest.json")[0]
        return read_json(first["Config"]), first["Layers"], [None] * len(first["Layers"])
    todo = list(read_json("index.json")["manifests"])
    for entry in todo:
        platform = entry.get("platform")
        fits = not platform or (platform.get("os"), platform.get("architecture")) == (
            "linux", "amd64")
        if not fits:
            continue
        document = read_json(blob_name(entry["digest"]))
        if "manifests" in document:
            todo.extend(document["manifests"][:100])
        elif "layers" in document:
            digests = [layer["digest"] for layer in document["layers"]]
            config = read_json(blob_name(document["config"]["digest"]))
            return config, [blob_name(digest) for digest in digests], digests
    fail("it holds no image for linux/amd64")


def open_layer(name):
    raw = open_member(name)
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=raw)
    if magic == b"\x28\xb5\x2f\xfd":
        fail("a layer is compressed with zstd; save it with gzip")
    return raw


def check_digest(name, digest):
    if digest is None:
        return
    found = hashlib.sha256()
    with open_member(name) as raw:
        while piece := raw.read(1 << 20):
            found.update(piece)
    if "sha256:" + found.hexdigest() != digest:
        fail(f"a layer does not have its digest {digest}")


def in_root(work):
    """Runs `work` in a child for which `root` is /, so that links lead where the image means."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chroot(root)
            os.chdir("/")
            work()
            status = 0
        except Exception as error:  # told to whoever reads the log; the child ends here
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        fail("see the lines above")


def remove_tree(path):
    if os.path.islink(path) or not os.path.isdir(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        return
    for name in os.listdir(path):
        remove_tree(os.path.join(path, name))
    os.rmdir(path)


def remove_hidden(name):
    """Takes away what this layer hides of those below it."""
    hidden, emptied = [], []
    with tarfile.open(fileobj=open_layer(name), mode="r|") as layer:
        for member in layer:
            folder, base = os.path.split("/" + os.path.normpath(member.name).lstrip("/"))
            if base == ".wh..wh..opq":
                emptied.append(folder)
            elif base.startswith(".wh.") and not base.startswith(".wh..wh."):
                hidden.append(os.path.join(folder, base[4:]))

    def work():
        for folder in emptied:
            for entry in os.listdir(folder) if os.path.isdir(folder) else []:
                remove_tree(os.path.join(folder, entry))
        for path in hidden:
            remove_tree(path)

    if hidden or emptied:
        in_root(work)


def unpack(name):
    tar = [f"{LIBRARIES}/ld-linux-x86-64.so.2", "--library-path", LIBRARIES,
           f"{TOOLS}/usr/bin/tar", "-xpf", "-", "--numeric-owner", "--same-owner",
           "--exclude=.wh.*", "--exclude=*/.wh.*", "--exclude=dev/*", "--exclude=./dev/*",
           "--warning=no-timestamp"]

    def enter():
        os.chroot(root)
        os.chdir("/")

    with subprocess.Popen(tar, stdin=subprocess.PIPE, preexec_fn=enter) as process:
        try:
            layer = open_layer(name)
            while piece := layer.read(1 << 20):
                process.stdin.write(piece)
            process.stdin.close()
        except BrokenPipeError:
            pass
    if process.returncode != 0:
        fail(f"tar ended with status {process.returncode}")


def read_table(path):
    if not os.path.isfile(path):
        return []
    with open(path, errors="surrogateescape") as file:
        return [line.rstrip("\n").split(":") for line in file if ":" in line]


def append(path, line):
    with open(path, "a+", errors="surrogateescape") as file:
        file.seek(0)
        text = file.read()
        file.write(("" if not text or text.endswith("\n") else "\n") + line + "\n")


def furnish():
    """What a box needs of its image: some folders, root, and a user of its own."""
    for folder in ("/etc", "/proc", "/sys", "/dev", "/run", "/root", "/home", "/var", "/tmp"):
        os.makedirs(folder, exist_ok=True)
    os.chmod("/tmp", 0o1777)
    users = read_table("/etc/passwd")
    names = {user[0] for user in users}
    taken = {user[2] for user in users if len(user) > 2}
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    if "root" not in names:
        append("/etc/passwd", f"root:x:0:0:root:/root:{shell}")
        append("/etc/group", "root:x:0:")
    if "user" in names:
        return
    groups = {group[2] for group in read_table("/etc/group") if len(group) > 2}
    number = next(n for n in range(1000, 60000) if str(n) not in taken and str(n) not in groups)
    append("/etc/passwd", f"user:x:{number}:{number}::/home/user:{shell}")
    append("/etc/group", f"user:x:{number}:")
    if os.path.exists("/etc/shadow"):
        append("/etc/shadow", "user:*:19000:0:99999:7:::")
    os.makedirs("/home/user", exist_ok=True)
    os.chown("/home/user", number, number)
    if os.path.isdir("/etc/sudoers.d"):
        append("/etc/sudoers.d/user", "user ALL=(ALL:ALL) NOPASSWD: ALL")
        os.chmod("/etc/sudoers.d/user", 0o440)


def settle_user(wanted):
    """The name of the user that the image wants; a number gets one."""
    name = wanted.partition(":")[0]
    if not name:
        return "user"
    for user in read_table("/etc/passwd"):
        if name in (user[0], user[2] if len(user) > 2 else ""):
            return user[0]
    if not name.isdigit():
        raise ValueError(f"its user '{name}' is not in its /etc/passwd")
    append("/etc/passwd", f"uid{name}:x:{name}:{name}::/:/bin/sh")
    return f"uid{name}"


def main():
    config, layers, digests = find_manifest()
    config = config.get("config") or {}
    os.makedirs(root)
    os.chmod(root, 0o755)
    os.mkdir(root + TOOLS)
    subprocess.run(["mount", "--bind", "/", root + TOOLS], check=True)
    for number, (name, digest) in enumerate(zip(layers, digests), 1):
        print(f"layer {number} of {len(layers)}", flush=True)
        check_digest(name, digest)
        remove_hidden(name)
        unpack(name)
    subprocess.run(["umount", root + TOOLS], check=True)
    os.rmdir(root + TOOLS)
    in_root(furnish)

    reading, writing = os.pipe()
    workdir = config.get("WorkingDir") or ""

    def settle():
        user = settle_user(config.get("User") or "")
        folder = workdir
        if not folder:
            home = [entry[5] for entry in read_table("/etc/passwd")
                    if entry[0] == user and len(entry) > 5]
            folder = home[0] if home and os.path.isdir(home[0]) else "/"
        os.makedirs(folder, exist_ok=True)
        os.write(writing, json.dumps([user, folder]).encode())

    in_root(settle)
    os.close(writing)
    user, folder = json.loads(os.read(reading, 65536))
    envs = dict(entry.split("=", 1) for entry in config.get("Env") or [] if "=" in entry)
    archive.close()
    os.unlink(archive_path)
    print(json.dumps({"user": user, "workdir": folder, "envs": envs}), flush=True)


main()
