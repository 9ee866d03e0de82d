"""The ways to a box: by header, by name, over TLS, with tokens; and what the API tells about it."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest

from harness import Hako

DOMAIN = "hako.test"


def make_certificate(folder, name):
    """<folder>/chain.pem and key.pem for every name of the domain."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:*.{DOMAIN}",
         "-keyout", f"{folder}/new.key", "-out", f"{folder}/new.pem"],
        check=True, capture_output=True)
    shutil.copy(f"{folder}/new.pem", f"{folder}/{name}.pem")
    os.rename(f"{folder}/new.key", f"{folder}/key.pem")
    os.rename(f"{folder}/new.pem", f"{folder}/chain.pem")


class PlaneTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hako-tls-")
        make_certificate(cls.folder, "first")
        cls.hako = Hako(pool=2, settings=f"""
            [gate]
            certificate = "{cls.folder}/chain.pem"
            key = "{cls.folder}/key.pem"
            domain = "{DOMAIN}"
            [metrics]
            interval_seconds = 1
        """)
        cls.hako.start()

    @classmethod
    def tearDownClass(cls):
        cls.hako.stop()
        cls.hako.remove()
        shutil.rmtree(cls.folder)

    def curl(self, host, path, *options, trusted="first"):
        """(exit status, HTTP status, body) of curl over TLS to the gate."""
        port = self.hako.gate_port
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "30", "--noproxy", "*", "-w", "\n%{http_code}",
             "--cacert", f"{self.folder}/{trusted}.pem", "--resolve", f"{host}:{port}:127.0.0.1",
             *options, f"https://{host}:{port}{path}"], capture_output=True, text=True)
        body, _, status = done.stdout.rpartition("\n")
        return done.returncode, int(status or 0), body

    def test_the_domain_alone_is_enough(self):
        code, status, body = self.curl(
            f"api.{DOMAIN}", "/v2/sandboxes", "-H", f"X-API-Key: {self.hako.key()}",
            "-d", json.dumps({"templateID": "base", "timeout": 120}))
        self.assertEqual((code, status), (0, 201), body)
        box = json.loads(body)
        self.assertEqual(box["domain"], DOMAIN)
        name = f"49983-{box['sandboxID']}.{DOMAIN}"
        self.assertEqual(self.curl(name, "/health")[:2], (0, 204))
        self.assertEqual(self.curl(name, "/metrics")[1], 401)
        code, status, body = self.curl(name, "/metrics", "-H",
                                       f"X-Access-Token: {box['envdAccessToken']}")
        self.assertEqual(status, 200, body)
        self.assertEqual(self.hako.destroy(box), 204)
        code, status, body = self.curl(name, "/health")
        self.assertEqual((status, json.loads(body)["message"]),
                         (502, "The sandbox was not found"))

    def test_a_new_certificate_is_taken(self):
        make_certificate(self.folder, "second")
        end = time.monotonic() + 60
        while self.curl(f"api.{DOMAIN}", "/health", trusted="second")[0] != 0:
            self.assertLess(time.monotonic(), end, self.hako.logs())
            time.sleep(0.2)
        shutil.copy(f"{self.folder}/second.pem", f"{self.folder}/first.pem")

    def test_ports_ask_for_the_traffic_token(self):
        box = self.hako.create(network={"allowPublicTraffic": False,
                                        "maskRequestHost": "localhost:${PORT}"})
        self.hako.exec(box["sandboxID"], "sh", "-c",
                       "cd /tmp && nohup python3 -c \"\n"
                       "import http.server as h\n"
                       "class S(h.BaseHTTPRequestHandler):\n"
                       " def do_GET(s):\n"
                       "  b = (s.headers['Host'] + ' ' + s.headers['X-Forwarded-Host']).encode()\n"
                       "  s.send_response(200); s.send_header('Content-Length', len(b))\n"
                       "  s.end_headers(); s.wfile.write(b)\n"
                       "h.HTTPServer(('0.0.0.0', 8000), S).serve_forever()\n"
                       "\" >/dev/null 2>&1 &")
        host = f"8000-{box['sandboxID']}.{DOMAIN}"
        ask = lambda token: self.hako.request(
            "GET", "/", key=False, port=self.hako.gate_port,
            headers={"Host": host, **({"e2b-traffic-access-token": token} if token else {})})
        self.assertEqual(ask(None)[0], 403)
        self.assertEqual(ask("wrong")[0], 403)
        end = time.monotonic() + 60
        while (answer := ask(box["trafficAccessToken"]))[0] != 200:
            self.assertEqual(answer[0], 502)
            self.assertLess(time.monotonic(), end)
        self.assertEqual(answer[2], f"localhost:8000 {host}".encode())
        # The gate starts anew and is told all of it again.
        detail = self.hako.request("GET", f"/sandboxes/{box['sandboxID']}")[2]
        self.assertFalse(detail["network"]["allowPublicTraffic"])
        self.hako.destroy(box)

    def test_metrics_and_logs(self):
        box = self.hako.create()
        path = f"/sandboxes/{box['sandboxID']}"
        status, _, samples = self.hako.request("GET", f"{path}/metrics")
        self.assertEqual((status, len(samples) >= 1), (200, True), samples)
        self.assertGreater(samples[0]["memTotal"], samples[0]["memUsed"])
        self.assertGreater(samples[0]["diskTotal"], 0)
        seen = len(samples)
        end = time.monotonic() + 30
        while seen < 3:  # more of them by themselves
            self.assertLess(time.monotonic(), end)
            time.sleep(0.5)
            seen = len(self.hako.request("GET", f"{path}/metrics?end={int(time.time()) - 1}")[2])
        self.assertEqual(self.hako.request("GET", f"{path}/metrics?start=1&end=2")[2], [])
        several = self.hako.request("GET", f"/sandboxes/metrics?sandbox_ids={box['sandboxID']}")[2]
        self.assertIn(box["sandboxID"], several["sandboxes"])
        logs = self.hako.request("GET", f"/v2{path}/logs?search=started")[2]["logs"]
        self.assertEqual(logs[0]["fields"]["source"], "sandbox")
        self.hako.destroy(box)
        self.assertEqual(self.hako.request("GET", f"{path}/metrics")[0], 404)


if __name__ == "__main__":
    unittest.main()
