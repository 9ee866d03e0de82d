"""One context of the code interpreter: runs cells one after the other in one namespace.

Speaks JSON lines over the socket whose number is the first argument: {"code", "env_vars"} comes in;
what the cell gives goes out in the client's own words, and {"type": "end"} after it.
"""

import ast
import asyncio
import base64
import codecs
import fcntl
import inspect
import json
import linecache
import os
import random
import select
import signal
import socket
import struct
import sys
import termios
import threading
import traceback

FORMATS = {"html": "_repr_html_", "markdown": "_repr_markdown_", "svg": "_repr_svg_",
           "png": "_repr_png_", "jpeg": "_repr_jpeg_", "pdf": "_repr_pdf_",
           "latex": "_repr_latex_", "json": "_repr_json_", "javascript": "_repr_javascript_"}


class Wire:
    """The way to the server. Any thread may send."""

    def __init__(self, descriptor):
        self.socket = socket.socket(fileno=descriptor)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.lock = threading.Lock()

    def send(self, kind, **fields):
        data = json.dumps({"type": kind, **fields}, default=repr).encode() + b"\n"
        with self.lock:
            self.socket.sendall(data)


class Outputs:
    """Takes descriptors 1 and 2 over, so that what programs started by a cell print counts, too."""

    def __init__(self, wire):
        self.wire = wire
        self.lock = threading.Lock()
        self.readers = {}
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            reader, writer = os.pipe()
            os.dup2(writer, descriptor)
            os.close(writer)
            self.readers[reader] = (name, codecs.getincrementaldecoder("utf-8")("replace"))
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)
        threading.Thread(target=self.pump, daemon=True).start()

    def pump(self):
        while True:
            for reader in select.select(list(self.readers), [], [])[0]:
                with self.lock:
                    if self.waiting(reader):
                        self.forward(reader)

    def forward(self, reader):
        name, decoder = self.readers[reader]
        text = decoder.decode(os.read(reader, 65536))
        if text:
            self.wire.send(name, text=text)

    @staticmethod
    def waiting(reader):
        return struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0]

    def drain(self):
        """What was printed before this is sent before whatever is sent next."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass  # the cell closed it
        with self.lock:
            for reader in self.readers:
                while self.waiting(reader):
                    self.forward(reader)


def shown(value):
    """Every form in which a value can be shown."""
    forms = {"text": repr(value)}
    for name, method in FORMATS.items():
        render = getattr(value, method, None)
        if render is None or inspect.isclass(value):
            continue
        form = render()
        if isinstance(form, tuple):  # (data, metadata)
            form = form[0]
        if isinstance(form, bytes):
            form = base64.b64encode(form).decode()
        if form is not None:
            forms[name] = form
    return forms


class Kernel:
    def __init__(self, wire, outputs):
        self.wire, self.outputs = wire, outputs
        self.names = {"__name__": "__main__", "__builtins__": __builtins__,
                      "display": self.display}
        self.count = 0
        self.running = False
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        signal.signal(signal.SIGINT, self.interrupted)

    def interrupted(self, *_):
        # One that comes late must not end the kernel.
        if self.running:
            raise KeyboardInterrupt

    def display(self, *values):
        for value in values:
            self.outputs.drain()
            self.wire.send("result", is_main_result=False, **shown(value))

    def evaluate(self, tree, mode, name):
        code = compile(tree, name, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value = eval(code, self.names)
        if code.co_flags & inspect.CO_COROUTINE:
            value = self.loop.run_until_complete(value)
        return value

    def cell(self, source, name):
        """Runs a cell; its last expression, if it is one, is its result."""
        tree = ast.parse(source, name)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        if tree.body:
            self.evaluate(tree, "exec", name)
        if last is None:
            return
        value = self.evaluate(last, "eval", name)
        if value is None or source.rstrip().endswith(";"):
            return
        self.names["_"] = value
        forms = shown(value)
        self.outputs.drain()
        self.wire.send("result", is_main_result=True, **forms)

    def run(self, source, variables):
        if self.count == 0:
            # This process may be in a snapshot that many boxes were cloned from.
            random.seed()
        self.count += 1
        name = f"<cell {self.count}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        before = {key: os.environ.get(key) for key in variables}
        os.environ.update(variables)
        try:
            self.running = True
            self.cell(source, name)
        except BaseException as error:  # whatever a cell raises, SystemExit too, is its result
            self.running = False
            self.failed(error, name)
        finally:
            self.running = False
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value
        self.outputs.drain()
        self.wire.send("number_of_executions", execution_count=self.count)
        self.wire.send("end")

    def failed(self, error, name):
        # The frames of the kernel itself are nobody's business.
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename != name:
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames))
        self.outputs.drain()
        self.wire.send("error", name=type(error).__name__, value=str(error), traceback=text)


def main():
    wire = Wire(int(sys.argv[1]))
    kernel = Kernel(wire, Outputs(wire))
    # Modules that lie in the working directory can be imported, those beside this file cannot.
    sys.path[0] = ""
    sys.argv = [""]
    wire.send("ready")
    for line in wire.lines:
        request = json.loads(line)
        kernel.run(request["code"], request["env_vars"])


if __name__ == "__main__":
    main()
