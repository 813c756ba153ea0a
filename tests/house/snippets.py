#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""snippets.py ROOT OUT FILE.md...: one source file in OUT for each ```cpp block of the documents.

A block with `int main` is a program, as it stands. Another one says above it how it is to be read:
    <!-- snippet: namespace -->   declarations, at namespace scope
    <!-- snippet: function -->    statements, inside a coroutine that returns task<>
    <!-- snippet: compile -->     a program that is not run (a server, say)
and may name, with prelude=NAME, the file NAME.hpp in snippets/ here that declares what it uses.
Prints a line a block: `program|compile|object NAME`, for CMake.
"""
import pathlib
import re
import sys

root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
preludes = pathlib.Path(__file__).resolve().parent / "snippets"
MARK = re.compile(r"<!--\s*snippet:\s*(.*?)\s*-->\s*$")
USUAL = """#include <runnel/runnel.hpp>
#include <runnel/ipc.hpp>
using namespace runnel;
using namespace std::chrono_literals;
"""


def blocks(text):
    """(number of the first line of code, words of the mark or None, code)"""
    lines = text.splitlines()
    mark, start, code = None, None, []
    for number, line in enumerate(lines, 1):
        if start is not None:
            if line.strip() == "```":
                yield start, mark, "\n".join(code) + "\n"
                mark, start, code = None, None, []
            else:
                code.append(line)
        elif line.strip() == "```cpp":
            start = number + 1
        elif found := MARK.match(line.strip()):
            mark = found[1].split()
        elif line.strip():
            mark = None


def source(path, line, mark, code):
    prelude = "".join(f'#include "{preludes / word.removeprefix("prelude=")}.hpp"\n'
                      for word in mark if word.startswith("prelude="))
    unknown = [w for w in mark
               if not w.startswith("prelude=") and w not in ("namespace", "function", "compile")]
    if unknown:
        raise ValueError(f"no such snippet mark: {' '.join(unknown)}")
    place = f'#line {line} "{path}"\n'
    if re.search(r"^\s*int main\(", code, re.M):
        return "compile" if "compile" in mark else "program", prelude + place + code
    if "namespace" in mark:
        return "object", USUAL + prelude + place + code
    if "function" in mark:
        return "object", (USUAL + prelude + "task<> snippet();\ntask<> snippet() {\n" + place + code
                          + "co_return;\n}\n")
    raise ValueError("a block without main needs <!-- snippet: namespace or function --> above it")


status = 0
out.mkdir(parents=True, exist_ok=True)
for path in map(pathlib.Path, sys.argv[3:]):
    for line, mark, code in blocks(path.read_text()):
        try:
            kind, text = source(path, line, mark or [], code)
        except ValueError as error:
            print(f"{path}:{line}: {error}", file=sys.stderr)
            status = 1
            continue
        name = re.sub(r"\W", "_", f"{path.relative_to(root).with_suffix('')}_{line}")
        target = out / f"{name}.cpp"
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
        print(kind, name)
sys.exit(status)
