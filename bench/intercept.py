#!/usr/bin/env python3
"""What it costs that the gate ends TLS of a box, to put a secret into its requests: beside the same
connections passed through it unread, beside nginx ending TLS in the same way, and beside none between.

Prints one JSON array of rows for bench/run. The namespaces are those of outside.py;
the server is nginx.
"""

import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading

import outside
from outside import SERVER, machine_busy, nginx, slot_of, within  # says where the others are

import namespaces
from harness import BIN, Hako

LOAD = os.path.abspath(os.path.join(BIN, "..", "bench", "https_load"))
# Two names of one server: one has a secret.
SECRET_HOST, PLAIN_HOST = "api.bench.example", "www.bench.example"
SMALL, LARGE_MIB = "/small", 64
SETTINGS = """
[secrets]
master_key_file = "{folder}/master"
[gate]
upstream_ca_file = "{folder}/ca.pem"
[egress]
ceiling = "internet"
standard = "internet"
connections = 4000
connects_per_second = 100000
names_per_second = 1000000
resolvers = ["{server}:53"]
"""
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000; keepalive_timeout 600; sendfile on; tcp_nodelay on;
  ssl_certificate {certificates}/server.pem; ssl_certificate_key {certificates}/server.key;
  ssl_protocols TLSv1.2 TLSv1.3;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
{servers}
}}
"""
ORIGIN = """
  server {{ listen 443 ssl; root {files}; location = /small {{ return 200 "{body}"; }} }}
"""
TERMINATING = """
  upstream origin {{ server {server}:443; keepalive 64; }}
  server {{
    listen 127.0.0.1:8443 ssl;
    location / {{
      proxy_pass https://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header x-api-key "the-real-key-of-the-benchmark";
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {certificates}/ca.pem;
      proxy_ssl_server_name on; proxy_ssl_name {name}; proxy_ssl_session_reuse on;
      proxy_buffering on;
    }}
  }}
"""


def certificates(folder):
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    openssl("req", "-x509", *curve, "-subj", "/CN=bench", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *curve[:-2], "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr")
    with open(f"{folder}/names", "w") as file:
        file.write(f"subjectAltName=DNS:{SECRET_HOST},DNS:{PLAIN_HOST}")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem")


def configuration(folder, servers, certificates):
    return NGINX.format(folder=folder, certificates=certificates, servers=servers)


def serve(folder):
    """The process outside: nginx, and a DNS server for the two names."""
    outside.begin_to_serve()
    os.makedirs(f"{folder}/files")
    with open(f"{folder}/files/large", "wb") as file:
        file.truncate(LARGE_MIB << 20)
    asking = socket.socket(type=socket.SOCK_DGRAM)
    asking.bind((SERVER, 53))

    def answer():
        while True:
            query, sender = asking.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            is_a = query[end - 4:end - 2] == b"\0\1"
            record = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4" + socket.inet_aton(SERVER)
            head = query[:2] + struct.pack(">HHHHH", 0x8580, 1, int(is_a), 0, 0)
            asking.sendto(head + query[12:end] + (record if is_a else b""), sender)

    threading.Thread(target=answer, daemon=True).start()
    here, origin = f"{folder}/server", ORIGIN.format(files=f"{folder}/files", body="x" * 512)
    with nginx(here, configuration(here, origin, folder)):
        print("ready", flush=True)
        sys.stdin.readline()


class Place:
    """Somewhere that clients begin, and whom they trust there."""

    def __init__(self, name, address, port, host, authority, netns=None, key=None):
        self.name, self.address, self.port, self.host = name, address, port, host
        self.authority, self.netns, self.key = authority, netns, key

    def load(self, path, connections, seconds, keep=True):
        command = within(self.netns, LOAD, self.address, str(self.port), self.host, self.authority,
                         path, str(connections), str(seconds), "keep" if keep else "new",
                         *(["x-api-key", self.key] if self.key else []))
        done = json.loads(subprocess.run(command, capture_output=True, text=True,
                                         check=True).stdout)
        if done["failed"] or not done["times"] and not done["bytes"]:
            raise RuntimeError(f"{self.name}: {done['failed']} failed: {done['problem']}")
        return done


def rows_of(places, rounds, seconds):
    rows = []
    results = {}
    for what, path, connections, keep in (("kept", SMALL, 16, True), ("one", SMALL, 1, True),
                                          ("new", SMALL, 8, False), ("large", "/large", 2, True)):
        for _ in range(rounds):
            for place in places:
                before = machine_busy()
                done = place.load(path, connections, seconds, keep)
                done["busy"] = machine_busy() - before
                results.setdefault((what, place.name), []).append(done)

    def median(what, place, value):
        return statistics.median(value(done) for done in results[what, place.name])

    def value(name, number, unit):
        rows.append({"name": name, "unit": unit, "value": number})

    for place in places:
        value(f"requests on 16 kept connections, {place.name}",
              median("kept", place, lambda d: len(d["times"]) / d["seconds"]), "1/s")
        times = [t for done in results["kept", place.name] for t in done["times"]]
        rows.append({"name": f"one of them, {place.name}", "unit": "ms", "seconds": times})
    for place in places:
        times = [t for done in results["one", place.name] for t in done["times"]]
        rows.append({"name": f"a request on a quiet connection, {place.name}", "unit": "ms",
                     "seconds": times})
    for place in places:
        value(f"new connections with a request each, {place.name}",
              median("new", place, lambda d: len(d["times"]) / d["seconds"]), "1/s")
    for place in places:
        value(f"bytes of large answers, {place.name}",
              median("large", place, lambda d: d["bytes"] / d["seconds"] / (1 << 20)), "MiB/s")
        value(f"processor time of the whole machine for them, {place.name}",
              median("large", place, lambda d: d["busy"] / (d["bytes"] / (1 << 30))), "s/GiB")
    return rows


def look_up(netns, name):
    """What the gate tells a box that asks for the name."""
    script = ("import socket, sys; from egress import RESOLVER, question; "
              "from intercept import address_in; "
              "s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(5); "
              "s.connect((RESOLVER, 53)); s.send(question(7, sys.argv[1])); "
              "print(socket.inet_ntoa(address_in(s.recv(512))))")
    done = subprocess.run(within(netns, sys.executable, "-c", script, name),
                          capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:3])})
    return done.stdout.strip()


def address_in(answer):
    """The address in an answer of DNS with one record of type A."""
    at = answer.index(b"\xc0\x0c\0\1\0\1") + 12
    return answer[at:at + 4]


def measure(quick):
    namespaces.leave()
    folder = tempfile.mkdtemp(prefix="hako-bench-")
    os.chmod(folder, 0o755)
    certificates(folder)
    with open(f"{folder}/master", "w") as file:
        file.write("5a" * 32)
    os.chmod(f"{folder}/master", 0o600)
    terminating = TERMINATING.format(server=SERVER, certificates=folder, name=SECRET_HOST)
    settings = SETTINGS.format(folder=folder, server=SERVER)
    try:
        proxy = f"{folder}/proxy"
        with outside.outside(__file__, folder), \
                nginx(proxy, configuration(proxy, terminating, folder)), \
                Hako(pool=1, settings=settings) as hako:
            status, _, made = hako.request("POST", "/v1/secrets", {
                "name": "bench", "value": "the-real-key-of-the-benchmark", "hosts": [SECRET_HOST],
                "use": {"kind": "header", "header": "x-api-key"}, "env": "BENCH_KEY"})
            assert status == 201, made
            box = hako.create(secrets=["bench"])["sandboxID"]
            key = hako.exec(box, "printenv", "BENCH_KEY").stdout.strip()
            with open(f"{folder}/box.pem", "w") as file:
                file.write(hako.exec(box, "cat", "/run/hako/authority.pem").stdout)
            slot = slot_of(hako, box)
            outside.take_for_the_box(slot, "198.18.0.0/15")
            looked_into, passed = look_up(slot, SECRET_HOST), look_up(slot, PLAIN_HOST)
            authority = f"{folder}/ca.pem"
            places = [Place("direct", SERVER, 443, PLAIN_HOST, authority),
                      Place("nginx ending TLS", "127.0.0.1", 8443, SECRET_HOST, authority),
                      Place("hako's gate, not looking", passed, 443, PLAIN_HOST, authority, slot),
                      Place("hako's gate, ending TLS", looked_into, 443, SECRET_HOST,
                            f"{folder}/box.pem", slot, key)]
            return rows_of(places, 1 if quick else 5, 2 if quick else 5)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        print(json.dumps(measure("--quick" in sys.argv[1:])))
