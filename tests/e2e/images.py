"""Images for tests, made of programs of the machine that runs them."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile


class Layout:
    """An image as an OCI layout folder, from programs of the machine that runs the test."""

    PROGRAMS = ("sh", "cat", "id", "ls", "mkdir", "rm", "sync", "true", "echo", "stat")

    def __init__(self, folder):
        self.folder = folder
        self.layers = []
        os.makedirs(os.path.join(folder, "blobs", "sha256"))

    def blob(self, content):
        digest = hashlib.sha256(content).hexdigest()
        with open(os.path.join(self.folder, "blobs", "sha256", digest), "wb") as file:
            file.write(content)
        return {"digest": "sha256:" + digest, "size": len(content)}

    def layer(self, fill):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            fill(tar)
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        self.layers.append(dict(self.blob(out.getvalue()), mediaType=kind))

    @staticmethod
    def file(tar, name, content="", link=None, kind=tarfile.REGTYPE):
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.type = len(content), 0o755, kind
        entry.linkname = link or ""
        tar.addfile(entry, io.BytesIO(content.encode()))

    @classmethod
    def programs(cls, tar):
        libraries = set()
        for name in cls.PROGRAMS:
            path = shutil.which(name)
            tar.add(os.path.realpath(path), "bin/" + name)
            told = subprocess.run(["ldd", path], capture_output=True, text=True, check=True)
            libraries |= {word for word in told.stdout.split() if word.startswith("/")}
        for library in sorted(libraries):
            tar.add(os.path.realpath(library), library.lstrip("/"))

    def finish(self, config):
        config = dict(self.blob(json.dumps({"config": config}).encode()),
                      mediaType="application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "config": config, "layers": self.layers}
        entry = dict(self.blob(json.dumps(manifest).encode()),
                     mediaType="application/vnd.oci.image.manifest.v1+json",
                     platform={"os": "linux", "architecture": "amd64"})
        for name, content in (("index.json", {"schemaVersion": 2, "manifests": [entry]}),
                              ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
            with open(os.path.join(self.folder, name), "w") as file:
                json.dump(content, file)
