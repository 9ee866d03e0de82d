"""Certificates made by openssl: an authority in a folder, and what it signs."""

import os
import subprocess

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Certificates:
    """`authority` is the path of the authority's certificate."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = os.path.join(folder, "ca.pem")
        self._openssl("req", "-x509", *CURVE, "-days", "30", "-subj", "/CN=hako test authority",
                      "-addext", "basicConstraints=critical,CA:TRUE",
                      "-addext", "keyUsage=keyCertSign", "-keyout", "ca.key", "-out", "ca.pem")

    def issue(self, name, names, days=30):
        """Paths of a new certificate and its key. `names`: "DNS:a.test,IP:127.0.0.1"."""
        self._openssl("req", "-new", *CURVE, "-subj", f"/CN={name}", "-addext",
                      f"subjectAltName={names}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                      "-CAcreateserial", "-copy_extensions", "copyall", "-days", str(days),
                      "-out", f"{name}.pem")
        return os.path.join(self.folder, f"{name}.pem"), os.path.join(self.folder, f"{name}.key")

    def _openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)
