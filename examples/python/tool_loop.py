"""An agent whose reasoning stays outside and whose actions run in a box.

The model here is a script, so that the example needs no key. A real one is called at the same
place, with the same tools; its key never enters the box.
"""

from e2b import CommandExitException, Sandbox


def tools(box):
    """What the model may do. Each tool takes its arguments and gives text back."""

    def run(command):
        try:
            done = box.commands.run(command, timeout=60)
        except CommandExitException as error:  # something the model should see
            done = error
        return f"exit {done.exit_code}\n{done.stdout}{done.stderr}"

    def write_file(path, text):
        box.files.write(path, text)
        return f"wrote {path}"

    return {"run": run, "write_file": write_file, "read_file": lambda path: box.files.read(path)}


def scripted_model():
    """Yields tool calls and is sent what came of them; returns the final words."""
    check = "import add; assert add.add(2, 3) == 5, add.add(2, 3); print('right')"
    yield "write_file", {"path": "add.py", "text": "def add(a, b):\n    return a - b\n"}
    result = yield "run", {"command": f'python3 -B -c "{check}"'}
    if not result.startswith("exit 0"):
        yield "run", {"command": 'sed -i "s/a - b/a + b/" add.py'}
        yield "run", {"command": f'python3 -B -c "{check}"'}
    text = yield "read_file", {"path": "add.py"}
    return f"Done. The file is now:\n{text}"


def main():
    with Sandbox.create(timeout=300, allow_internet_access=False) as box:
        available = tools(box)
        model = scripted_model()
        result = None
        while True:
            try:
                tool, arguments = model.send(result)
            except StopIteration as end:
                print(end.value)
                return
            print(">", tool, arguments)
            result = available[tool](**arguments)
            print(result.rstrip())


if __name__ == "__main__":
    main()
