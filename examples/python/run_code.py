"""Code in a box, cell by cell. Needs the template that code-interpreter/build.mjs builds."""

from e2b_code_interpreter import Sandbox

with Sandbox.create() as box:
    box.run_code("import statistics; numbers = [2, 4, 4, 4, 5, 5, 7, 9]")
    mean = box.run_code("print('thinking'); statistics.mean(numbers)",
                        on_stdout=lambda message: print("box:", message.line, end=""))
    print("mean:", mean.text)
    wrong = box.run_code("numbers[100]")
    print(f"{wrong.error.name}: {wrong.error.value}")
