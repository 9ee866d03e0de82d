"""The service that @e2b/code-interpreter expects on port 49999 of a box, for Python.

    POST /execute {code, context_id?, language?, env_vars?}   JSON lines while the code runs
    GET, POST /contexts; DELETE /contexts/ID; POST /contexts/ID/restart

A context is a process (kernel.py): what runs in it can neither stop the service nor reach another
context's names. Standard library only.
"""

import http.server
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid

PORT = 49999
HOME = os.path.expanduser("~")
KERNEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernel.py")
# How long an interrupted cell may take to end before its process is ended.
GRACE_SECONDS = 5


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def hung_up(client):
    """Whether a connection from which something can be read is at its end, or was reset."""
    try:
        return not client.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


class Context:
    """A kernel process. Cells run one at a time, in the order in which they came."""

    def __init__(self, cwd):
        self.id = str(uuid.uuid4())
        self.cwd = cwd
        self.turn = threading.Lock()
        self.start()

    def described(self):
        return {"id": self.id, "language": "python", "cwd": self.cwd}

    def start(self):
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, KERNEL, str(theirs.fileno())], cwd=self.cwd,
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True)
        self.socket = ours
        self.socket.recv(64)  # it says that it is ready

    def kill(self):
        """Ends the process and what it started, and with it a cell that runs."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def stop(self):
        self.kill()
        with self.turn:
            self.socket.close()

    def restart(self):
        self.kill()
        with self.turn:
            self.start_again()

    def start_again(self):
        self.kill()
        self.socket.close()
        self.start()

    def run(self, code, variables, client, send):
        """Runs a cell; `send` gets each line of its answer. Who hangs up interrupts it."""
        with self.turn:
            if self.process.poll() is not None:
                self.start_again()
            self.socket.sendall(json.dumps({"code": code, "env_vars": variables}).encode() + b"\n")
            buffered = b""
            while True:
                if b"\n" not in buffered:
                    ready = select.select([self.socket, client], [], [])[0]
                    if client in ready and hung_up(client):
                        return self.give_up(buffered)
                    if self.socket not in ready:
                        continue
                    piece = self.socket.recv(65536)
                    if not piece:
                        return send(b'{"type": "error", "name": "KernelDied", "value": '
                                    b'"the process of this context ended", "traceback": ""}')
                    buffered += piece
                    continue
                line, buffered = buffered.split(b"\n", 1)
                if line == b'{"type": "end"}':
                    return
                try:
                    send(line)
                except OSError:
                    return self.give_up(buffered)

    def give_up(self, buffered):
        """Nobody reads any more: the cell is interrupted, and the next one can have its turn."""
        self.process.send_signal(signal.SIGINT)
        self.socket.settimeout(GRACE_SECONDS)
        try:
            while not buffered.endswith(b'{"type": "end"}\n'):
                piece = self.socket.recv(65536)
                if not piece:
                    return
                buffered = (buffered + piece)[-64:]
            self.socket.settimeout(None)
        except TimeoutError:
            self.start_again()


class Contexts:
    def __init__(self):
        self.lock = threading.Lock()
        self.default = Context(HOME)
        self.all = {self.default.id: self.default}

    def find(self, identity):
        with self.lock:
            found = self.default if identity is None else self.all.get(identity)
        if found is None:
            raise Refused(404, f"there is no context {identity}")
        return found

    def create(self, cwd):
        if not os.path.isdir(cwd):
            raise Refused(400, f"there is no folder {cwd}")
        context = Context(cwd)
        with self.lock:
            self.all[context.id] = context
        return context

    def remove(self, identity):
        context = self.find(identity)
        with self.lock:
            if context is self.default:
                raise Refused(400, "the default context stays")
            self.all.pop(identity, None)
        context.stop()

    def described(self):
        with self.lock:
            return [context.described() for context in self.all.values()]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    contexts = None

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            value = json.loads(data or b"{}")
        except ValueError:
            raise Refused(400, "the body is no JSON") from None
        if not isinstance(value, dict):
            raise Refused(400, "the body is no JSON object")
        return value

    def answer(self, status, value=None):
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if data:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_request(self):
        path = self.path.split("?", 1)[0].strip("/").split("/")
        try:
            match (self.command, path):
                case ("GET", ["health"]):
                    self.answer(200, "OK")
                case ("POST", ["execute"]):
                    self.execute(self.body())
                case ("GET", ["contexts"]):
                    self.answer(200, self.contexts.described())
                case ("POST", ["contexts"]):
                    body = self.body()
                    self.need_python(body)
                    context = self.contexts.create(body.get("cwd") or HOME)
                    self.answer(200, context.described())
                case ("DELETE", ["contexts", identity]):
                    self.contexts.remove(identity)
                    self.answer(204)
                case ("POST", ["contexts", identity, "restart"]):
                    self.contexts.find(identity).restart()
                    self.answer(204)
                case _:
                    self.answer(404, {"message": f"no {self.command} {self.path} here"})
        except Refused as refusal:
            self.close_connection = True  # its body may not have been read
            self.answer(refusal.status, {"message": str(refusal)})

    do_GET = do_POST = do_DELETE = handle_request

    @staticmethod
    def need_python(body):
        if (body.get("language") or "python") not in ("python", "python3"):
            raise Refused(400, "this box runs Python only")

    def execute(self, body):
        # The port is open to whoever knows the box's name: only who holds the token of the box's
        # own daemon may run code. (Of contexts the client asks without it.)
        of_box = self.variables_of_box()
        self.need_python(body)
        if not isinstance(body.get("code"), str):
            raise Refused(400, "there is no code")
        context = self.contexts.find(body.get("context_id"))
        variables = of_box | (body.get("env_vars") or {})
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        context.run(body["code"], variables, self.connection, self.send_line)
        self.wfile.write(b"0\r\n\r\n")

    def send_line(self, line):
        self.wfile.write(b"%x\r\n%s\n\r\n" % (len(line) + 1, line))

    def variables_of_box(self):
        """What Sandbox.create() was given: known only to the box's own daemon, which tells it, with
        the caller's token, to who may know."""
        ask = urllib.request.Request("http://127.0.0.1:49983/envs")
        if token := self.headers.get("X-Access-Token"):
            ask.add_header("X-Access-Token", token)
        try:
            with urllib.request.urlopen(ask, timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise Refused(401 if error.code == 401 else 502, "not authorized") from None
        except (OSError, ValueError):
            raise Refused(502, "the box's daemon does not answer") from None


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    Handler.contexts = Contexts()
    Server(("0.0.0.0", PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()
