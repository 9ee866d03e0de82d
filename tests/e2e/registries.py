"""Image registries on loopback: Debian's docker-registry, and one that means ill."""

import crypt
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from harness import free_port


def loopback_name():
    """A name of this machine's loopback that clients ask a proxy for, unlike localhost; an address
    of it where there is none."""
    name = socket.gethostname().lower()
    try:
        if socket.gethostbyname(name) == "127.0.0.1":
            return name
    except OSError:
        pass
    return "127.0.0.1"


class Registry:
    """A real registry, with one user where `login` is (name, password)."""

    def __init__(self, login=None, tls=False):
        self.folder = tempfile.mkdtemp(prefix="hako-registry-", dir="/var/tmp")
        self.port = free_port()
        name = loopback_name() if tls else "127.0.0.1"
        self.host = f"{name}:{self.port}"
        self.login = login
        settings = {
            "version": "0.1", "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": self.folder + "/storage"}},
            "http": {"addr": f"127.0.0.1:{self.port}"}}
        if tls:
            key, chain = self.folder + "/key.pem", self.folder + "/chain.pem"
            kind = "IP" if name == "127.0.0.1" else "DNS"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-nodes", "-keyout", key, "-out", chain, "-days", "2", "-subj", "/CN=hako test",
                 "-addext", f"subjectAltName={kind}:{name}"], check=True, capture_output=True)
            settings["http"]["tls"] = {"certificate": chain, "key": key}
        if login:
            users = self.folder + "/users"
            settings["auth"] = {"htpasswd": {"realm": "test", "path": users}}
            with open(users, "w") as file:
                salt = crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)
                file.write(f"{login[0]}:{crypt.crypt(login[1], salt)}\n")
        with open(self.folder + "/config.yml", "w") as file:
            json.dump(settings, file)  # which is YAML, too
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["docker-registry", "serve", self.folder + "/config.yml"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.1)
        raise AssertionError("docker-registry does not start")

    def trust(self):
        """Has this machine know the registry's certificate, until remove()."""
        os.makedirs(self.trusted)
        shutil.copy(self.folder + "/chain.pem", self.trusted + "/ca.crt")

    @property
    def trusted(self):
        return "/etc/containers/certs.d/" + self.host

    def stop(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder)
        shutil.rmtree(self.trusted, ignore_errors=True)
        try:
            os.rmdir(os.path.dirname(self.trusted))
        except OSError:
            pass  # not there, or not ours alone

    def push(self, layout, name, *flags):
        """Pushes an OCI layout folder; the digest that it has there."""
        login = [f"--dest-creds={':'.join(self.login)}"] if self.login else []
        digest = self.folder + "/digest"
        subprocess.run(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", *login, *flags,
                        f"--digestfile={digest}", f"oci:{layout}", f"docker://{self.host}/{name}"],
                       check=True, capture_output=True, timeout=100)
        with open(digest) as file:
            return file.read().strip()


class Hostile(http.server.ThreadingHTTPServer):
    """Answers by what `answers` says of a path's last parts: a function of the handler."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), HostileHandler)
        self.host = f"127.0.0.1:{self.server_port}"
        self.asked = []
        self.blobs = {}
        self.manifests = {}
        self.blob_answer = self.manifest_answer = self.ping_answer = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def remove(self):
        self.shutdown()
        self.server_close()

    def blob(self, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return {"digest": digest, "size": len(content)}

    def image(self, name, layer_size=1000):
        """A proper manifest for `name`, of a layer that is only told about."""
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                 "digest": "sha256:" + "ab" * 32, "size": layer_size}
        config = self.blob(json.dumps({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "cd" * 32]}}).encode())
        config["mediaType"] = "application/vnd.oci.image.config.v1+json"
        self.manifests[name] = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer]}).encode()
        digest = "sha256:" + hashlib.sha256(self.manifests[name]).hexdigest()
        self.manifests[digest] = self.manifests[name]


class HostileHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Authorization")))
        try:
            last = self.path.split("?")[0].split("/")[-1]
            if self.path == "/v2/":
                (server.ping_answer or (lambda each: each.reply(200, b"{}")))(self)
            elif "/manifests/" in self.path and server.manifest_answer:
                server.manifest_answer(self)
            elif "/manifests/" in self.path and last in server.manifests:
                self.reply(200, server.manifests[last],
                           Content_Type="application/vnd.oci.image.manifest.v1+json")
            elif "/blobs/" in self.path and last in server.blobs:
                self.reply(200, server.blobs[last])
            elif "/blobs/" in self.path and server.blob_answer:
                server.blob_answer(self)
            else:
                self.reply(404, b"not here")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_GET

    def endless(self, pause=0.0, first=b""):
        """A body without an end."""
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(first)
        while True:
            self.wfile.write(os.urandom(1 << 16))
            time.sleep(pause)
