"""A box: a command in it, and a file in and out."""

from e2b import CommandExitException, Sandbox

with Sandbox.create(timeout=120, metadata={"purpose": "example"}) as box:
    print("kernel:", box.commands.run("uname -sr").stdout.strip())

    box.files.write("numbers.txt", "3\n1\n2\n")
    box.commands.run("sort -n numbers.txt > sorted.txt")
    print("sorted:", box.files.read("sorted.txt").split())

    try:
        box.commands.run("ls /no/such/folder")
    except CommandExitException as error:
        print("failed with", error.exit_code)
