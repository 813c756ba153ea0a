#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""snippets.py ROOT OUT FILE.md...: one source file in OUT for each ```cpp block of the documents.

A block with `int main` is a program, as it stands. Another one says above it how it is to be read:
    <!-- snippet: namespace -->   declarations, at namespace scope
    <!-- snippet: function -->    statements, inside a coroutine that returns task<>, which is run
    <!-- snippet: compile -->     a program that is not run (a server, say)
and may name files in snippets/ here: with prelude=NAME what declares what it uses, with then=NAME
what follows it and has a main, which puts to the test what it declares.
Prints a line a block: `program|compile|object NAME`, for CMake.
"""
import pathlib
import re
import sys

root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
ours = pathlib.Path(__file__).resolve().parent / "snippets"
MARK = re.compile(r"<!--\s*snippet:\s*(.*?)\s*-->\s*$")
KNOWN = re.compile(r"(prelude|then)=|(namespace|function|compile)$")
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


def included(mark, key):
    """The #include lines of the files that a mark names."""
    names = [word.removeprefix(key) for word in mark if word.startswith(key)]
    return "".join(f'#include "{ours / name}.hpp"\n' for name in names)


def source(path, line, mark, code):
    before, after = included(mark, "prelude="), included(mark, "then=")
    unknown = [word for word in mark if not KNOWN.match(word)]
    if unknown:
        raise ValueError(f"no such snippet mark: {' '.join(unknown)}")
    program = "compile" if "compile" in mark else "program"
    place = f'#line {line} "{path}"\n'
    if re.search(r"^\s*int main\(", code, re.M):
        return program, before + place + code
    if "namespace" in mark:
        return program if after else "object", USUAL + before + place + code + after
    if "function" in mark:
        return program, (USUAL + before + "task<> snippet();\ntask<> snippet() {\n" + place + code
                         + "co_return;\n}\nint main() { run(snippet()); }\n")
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
