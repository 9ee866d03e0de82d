"""A certificate authority of the test's own, and one certificate of it for every name."""

import os
import subprocess

import zone


def _openssl(folder, *words):
    subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)


def make(folder):
    """Writes ca.pem, and server.pem with its key and chain, into `folder`."""
    names = [*(name for name in zone.NAMES if not name[0].isdigit()),
             *(f"*.{name}" for name in zone.BELOW)]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl(folder, "req", "-x509", *curve, "-days", "2", "-subj", "/CN=hako attack CA",
             "-keyout", "ca.key", "-out", "ca.pem")
    _openssl(folder, "req", *curve, "-subj", "/CN=world", "-keyout", "server.key", "-out",
             "server.csr")
    with open(os.path.join(folder, "names"), "w") as file:
        file.write("subjectAltName=" + ",".join(f"DNS:{name}" for name in names))
    _openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
             "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.crt")
    with open(os.path.join(folder, "server.pem"), "w") as out:
        for part in ("server.key", "server.crt", "ca.pem"):
            with open(os.path.join(folder, part)) as file:
                out.write(file.read())
