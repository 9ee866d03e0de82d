"""A model that says what a script tells it, over the protocols of Anthropic, OpenAI and Gemini.

It streams as they do, over TLS with a certificate of the tests' own, wants a key, counts what it says it
has used, and writes down each request. A script is a list of moves: {"run": COMMAND} calls whatever
tool for commands the client has offered, {"edit": [PATH, OLD, NEW]} a tool that edits (or a command
where there is none), {"say": TEXT} is the last word. Which move comes next is seen from the request
itself: as many results of tools as there are in it have been made. With --hold the last word is kept back
until there is a file of that name.

    model_server.py --port 0 --certificate chain.pem --key key.pem --script script.json --log log.jsonl
"""

import argparse
import http.server
import json
import os
import shlex
import ssl
import threading
import time
import uuid

# What each request and each answer is said to have cost.
INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS = 1000, 200, 50


def edit_command(path, old, new):
    """The same as an edit, for models that have but a shell."""
    program = ("import sys; p, old, new = sys.argv[1:]; s = open(p).read(); "
               "assert s.count(old) == 1; open(p, 'w').write(s.replace(old, new))")
    return f"python3 -c {shlex.quote(program)} {shlex.quote(path)} {shlex.quote(old)} {shlex.quote(new)}"


class Tools:
    """The tools that a client offers, by name, and how a move is said with them."""

    def __init__(self, schemas, box=""):
        self.schemas = schemas
        self.box = box

    def find(self, *endings):
        for ending in endings:
            for name in self.schemas:
                if name == ending or name.endswith("__" + ending):
                    return name
        return None

    def use(self, move):
        """(name, arguments) for a move."""
        if "edit" in move:
            path, old, new = move["edit"]
            if name := self.find("box_edit_file"):
                return name, {"box": self.box, "path": path, "old_text": old, "new_text": new}
            move = {"run": edit_command(path, old, new)}
        command = move["run"]
        if name := self.find("box_run"):
            return name, {"box": self.box, "command": command}
        if name := self.find("Bash"):
            return name, {"command": command, "description": "a step of the task"}
        if name := self.find("run_shell_command"):
            return name, {"command": command, "description": "a step of the task"}
        if name := self.find("exec_command"):
            return name, {"cmd": command}
        if self.schemas.get("exec", {}).get("type") == "custom":
            # A program in JavaScript, which calls the tools.
            call = json.dumps({"cmd": command, "yield_time_ms": 120_000})
            return "exec", ('// @exec: {"yield_time_ms": 120000}\n'
                            f"const done = await tools.exec_command({call});\n"
                            "text(typeof done === 'string' ? done : JSON.stringify(done));")
        if name := self.find("shell_command"):
            return name, {"command": command}
        if name := self.find("shell", "container.exec", "local_shell"):
            return name, {"command": ["bash", "-lc", command]}
        raise LookupError(f"no tool for commands among {sorted(self.schemas)}")


class Script:
    """Moves, and which of them a conversation has come to."""

    def __init__(self, moves):
        self.moves = moves

    def next(self, results, tools):
        """("say", text) or ("use", name, arguments). `results`: texts of what tools gave so far."""
        for text in results:
            # The box that the first move made.
            found = text.find('"box":"')
            if found >= 0 and not tools.box:
                tools.box = text[found + 7:].split('"')[0].replace("\\", "")
        if len(results) >= len(self.moves):
            return "say", "There is nothing left to do."
        move = self.moves[len(results)]
        if "say" in move:
            return "say", move["say"]
        if "call" in move:
            name, arguments = move["call"]
            return "use", tools.find(name) or name, arguments
        return ("use", *tools.use(move))


def text_of(content):
    """All text in a piece of content, whatever its shape."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(text_of(one) for one in content)
    if isinstance(content, dict):
        return "".join(text_of(value) for key, value in content.items()
                       if key in ("text", "content", "output", "response", "functionResponse"))
    return ""


class Anthropic:
    def __init__(self, body):
        self.body = body
        self.tools = Tools({tool["name"]: tool for tool in body.get("tools", [])})
        self.results = [text_of(block.get("content"))
                        for message in body["messages"] if isinstance(message["content"], list)
                        for block in message["content"] if block.get("type") == "tool_result"]

    def usage(self):
        return {"input_tokens": INPUT_TOKENS, "cache_read_input_tokens": CACHED_TOKENS,
                "cache_creation_input_tokens": 0, "output_tokens": OUTPUT_TOKENS}

    def blocks(self, move):
        if move[0] == "say":
            return [{"type": "text", "text": move[1]}], "end_turn"
        return [{"type": "text", "text": "One step further."},
                {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:24]}", "name": move[1],
                 "input": move[2]}], "tool_use"

    def message(self, move):
        blocks, reason = self.blocks(move)
        return {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant",
                "model": self.body["model"], "content": blocks, "stop_reason": reason,
                "stop_sequence": None, "usage": self.usage()}

    def events(self, move):
        message = self.message(move)
        begun = message | {"content": [], "stop_reason": None,
                           "usage": self.usage() | {"output_tokens": 1}}
        yield "message_start", {"message": begun}
        yield "ping", {}
        for index, block in enumerate(message["content"]):
            if block["type"] == "text":
                yield "content_block_start", {"index": index,
                                              "content_block": {"type": "text", "text": ""}}
                deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
            else:
                yield "content_block_start", {"index": index,
                                              "content_block": block | {"input": {}}}
                deltas = [{"type": "input_json_delta", "partial_json": piece}
                          for piece in pieces(json.dumps(block["input"]))]
            for delta in deltas:
                yield "content_block_delta", {"index": index, "delta": delta}
            yield "content_block_stop", {"index": index}
        yield "message_delta", {"delta": {"stop_reason": message["stop_reason"],
                                          "stop_sequence": None}, "usage": self.usage()}
        yield "message_stop", {}


class Responses:
    def __init__(self, body):
        self.body = body
        # Tools of one server may come together, in a name space that calls must name.
        self.spaces, schemas = {}, {}
        items = body["input"] if isinstance(body["input"], list) else []
        given = [tool for item in items if item.get("type") == "additional_tools"
                 for tool in item["tools"]]
        for tool in body.get("tools", []) + given:
            for inner in tool.get("tools", []) if tool.get("type") == "namespace" else [tool]:
                name = inner.get("name") or inner["type"]
                schemas[name] = inner
                if inner is not tool:
                    self.spaces[name] = tool["name"]
        self.tools = Tools(schemas)
        self.results = [text_of(item.get("output")) for item in items
                        if item.get("type", "").endswith("call_output")]

    def usage(self):
        return {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS,
                "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
                "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
                "output_tokens_details": {"reasoning_tokens": 0}}

    def item(self, move):
        if move[0] == "say":
            return {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": move[1], "annotations": []}]}
        if isinstance(move[2], str):
            item = {"id": f"ctc_{uuid.uuid4().hex}", "type": "custom_tool_call",
                    "status": "completed", "call_id": f"call_{uuid.uuid4().hex[:20]}",
                    "name": move[1], "input": move[2]}
            return item | ({"namespace": self.spaces[move[1]]} if move[1] in self.spaces else {})
        item = {"id": f"fc_{uuid.uuid4().hex}", "type": "function_call", "status": "completed",
                "call_id": f"call_{uuid.uuid4().hex[:20]}", "name": move[1],
                "arguments": json.dumps(move[2])}
        if move[1] in self.spaces:
            item["namespace"] = self.spaces[move[1]]
        return item

    def message(self, move):
        return {"id": f"resp_{uuid.uuid4().hex}", "object": "response", "status": "completed",
                "created_at": int(time.time()), "model": self.body["model"], "error": None,
                "incomplete_details": None, "output": [self.item(move)], "tools": [],
                "parallel_tool_calls": False, "usage": self.usage()}

    def events(self, move):
        message = self.message(move)
        begun = message | {"status": "in_progress", "output": [], "usage": None}
        yield "response.created", {"response": begun}
        yield "response.in_progress", {"response": begun}
        item = message["output"][0]
        where = {"output_index": 0, "item_id": item["id"]}
        if item["type"] == "message":
            part = item["content"][0]
            yield "response.output_item.added", {"output_index": 0, "item": item | {
                "status": "in_progress", "content": []}}
            yield "response.content_part.added", where | {"content_index": 0,
                                                          "part": part | {"text": ""}}
            for piece in pieces(part["text"]):
                yield "response.output_text.delta", where | {"content_index": 0, "delta": piece}
            yield "response.output_text.done", where | {"content_index": 0, "text": part["text"]}
            yield "response.content_part.done", where | {"content_index": 0, "part": part}
        elif item["type"] == "custom_tool_call":
            yield "response.output_item.added", {"output_index": 0, "item": item | {
                "status": "in_progress", "input": ""}}
            for piece in pieces(item["input"]):
                yield "response.custom_tool_call_input.delta", where | {"delta": piece}
            yield "response.custom_tool_call_input.done", where | {"input": item["input"]}
        else:
            yield "response.output_item.added", {"output_index": 0, "item": item | {
                "status": "in_progress", "arguments": ""}}
            for piece in pieces(item["arguments"]):
                yield "response.function_call_arguments.delta", where | {"delta": piece}
            yield "response.function_call_arguments.done", where | {"arguments": item["arguments"]}
        yield "response.output_item.done", {"output_index": 0, "item": item}
        yield "response.completed", {"response": message}


class Gemini:
    def __init__(self, body, model):
        self.body = body
        self.model = model
        declared = [one for tool in body.get("tools", [])
                    for one in tool.get("functionDeclarations", [])]
        self.tools = Tools({one["name"]: one for one in declared})
        self.results = [text_of(part["functionResponse"]) for content in body.get("contents", [])
                        for part in content.get("parts", []) if "functionResponse" in part]

    def usage(self):
        return {"promptTokenCount": INPUT_TOKENS, "cachedContentTokenCount": CACHED_TOKENS,
                "candidatesTokenCount": OUTPUT_TOKENS,
                "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS}

    def parts(self, move):
        config = self.body.get("generationConfig", {})
        if move[0] == "say" and config.get("responseMimeType") == "application/json":
            return [{"text": json.dumps(fitting(config.get("responseJsonSchema", {}), move[1]))}]
        if move[0] == "say":
            return [{"text": move[1]}]
        return [{"functionCall": {"name": move[1], "args": move[2]}}]

    def message(self, move):
        return {"candidates": [{"content": {"role": "model", "parts": self.parts(move)},
                                "finishReason": "STOP", "index": 0}],
                "usageMetadata": self.usage(), "modelVersion": self.model,
                "responseId": uuid.uuid4().hex}

    def events(self, move):
        yield None, self.message(move)


def fitting(schema, text):
    """Something that a schema allows; Gemini's clients ask for it on the side, and again if it does not fit."""
    kind = schema.get("type", "").lower()
    if kind == "object":
        return {name: fitting(inner, text) for name, inner in schema.get("properties", {}).items()}
    plain = {"integer": 1, "number": 1, "boolean": True, "array": []}
    return schema["enum"][0] if "enum" in schema else plain.get(kind, text)


def usage_in(data):
    """What an event, or a whole answer, says that the call has used."""
    for place in (data, data.get("message"), data.get("response")):
        if isinstance(place, dict) and place.get("usage"):
            return place["usage"]
    return data.get("usageMetadata", {})


def pieces(text, size=7):
    return [text[i:i + size] for i in range(0, len(text), size)]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def note(self, **facts):
        facts |= {"method": self.command, "path": self.path, "time": time.time(),
                  "headers": {name.lower(): value for name, value in self.headers.items()}}
        with self.server.lock, open(self.server.log, "a") as file:
            file.write(json.dumps(facts) + "\n")

    def answer(self, status, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def stream(self, dialect, move):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        said = {}
        try:
            for number, (name, data) in enumerate(dialect.events(move)):
                if self.server.cut and number >= self.server.cut:
                    self.close_connection = True
                    return
                text = f"event: {name}\n" if name else ""
                if name:
                    data = {"type": name, "sequence_number": number} | data
                self.chunk(f"{text}data: {json.dumps(data)}\n\n")
                said |= usage_in(data)
                time.sleep(self.server.pause)
            self.wfile.write(b"0\r\n\r\n")
        finally:
            self.note(key=True, said=said)

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding"):
            raise ValueError("a body that is " + self.headers["Content-Encoding"])
        return json.loads(data) if data else {}

    def has_key(self):
        shown = [self.headers.get("x-api-key"), self.headers.get("x-goog-api-key"),
                 (self.headers.get("Authorization") or "").removeprefix("Bearer ")]
        return self.server.secret in shown

    def do_GET(self):
        path = self.path.split("?")[0]
        self.note(key=self.has_key())
        if path.endswith("/models"):
            models = [{"id": "scripted", "object": "model", "type": "model"}]
            return self.answer(200, {"object": "list", "data": models})
        self.answer(404, {"error": {"type": "not_found_error", "message": path}})

    do_HEAD = do_GET

    def do_POST(self):
        path = self.path.split("?")[0]
        body = self.body()
        allowed = self.has_key()
        if not allowed:
            self.note(key=False)
            return self.answer(401, {"type": "error", "error": {
                "type": "authentication_error", "message": "invalid x-api-key"}})
        streams = body.get("stream", False)
        if path.endswith("/count_tokens") or path.endswith(":countTokens"):
            self.note(key=True)
            return self.answer(200, {"input_tokens": INPUT_TOKENS, "totalTokens": INPUT_TOKENS})
        if path.endswith("/messages"):
            dialect = Anthropic(body)
        elif path.endswith("/responses"):
            dialect = Responses(body)
        elif ":" in path and "enerateContent" in path:
            streams = "streamGenerateContent" in path
            dialect = Gemini(body, path.rsplit("/", 1)[1].split(":")[0])
        else:
            self.note(key=True)
            return self.answer(404, {"error": {"type": "not_found_error", "message": path}})
        # What clients ask on the side, such as for a title, offers no tools and is no move.
        if dialect.tools.schemas:
            try:
                move = self.server.script.next(dialect.results, dialect.tools)
            except LookupError as error:
                self.note(key=True, problem=str(error))
                return self.answer(400, {"error": {"type": "invalid_request_error",
                                                   "message": str(error)}})
        else:
            move = ("say", "scripted")
        self.note(key=True, move=move, results=dialect.results, stream=streams,
                  model=body.get("model"), tools=sorted(dialect.tools.schemas))
        if move == ("say", self.server.script.moves[-1].get("say")):
            self.server.wait_while_held()
        if streams:
            return self.stream(dialect, move)
        message = dialect.message(move)
        self.answer(200, message)
        self.note(key=True, said=usage_in(message))


class ModelServer(http.server.ThreadingHTTPServer):
    """`cut`: streams end, broken, before that event. `pause`: seconds between two of them. `hold`: the
    file that lets the last word go."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, certificate, key, moves, log, secret, address="127.0.0.1", port=0, cut=0,
                 pause=0.0, hold=None):
        super().__init__((address, port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True,
                                          do_handshake_on_connect=False)
        self.script = Script(moves)
        self.log, self.secret, self.cut, self.pause, self.hold = log, secret, cut, pause, hold
        self.lock = threading.Lock()
        open(log, "a").close()

    def handle_error(self, *_):
        pass  # clients that go in the middle are no news

    def wait_while_held(self):
        """Not for ever: clients do not wait so long either."""
        end = time.monotonic() + 240
        while self.hold and not os.path.exists(self.hold) and time.monotonic() < end:
            time.sleep(0.2)

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def requests(self):
        """What came so far."""
        with self.lock, open(self.log) as file:
            return [json.loads(line) for line in file]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--script", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--cut", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--hold")
    options = parser.parse_args()
    with open(options.script) as file:
        moves = json.load(file)
    server = ModelServer(options.certificate, options.key, moves, options.log, options.secret,
                         options.address, options.port, options.cut, options.pause, options.hold)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
