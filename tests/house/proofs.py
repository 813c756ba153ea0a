#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""proofs.py ROOT [-v]: every awaitable of the public headers is in a table of the no-loss harness.

Finds the functions that give something to await, by what they are declared to return, and the rows
of the tables, proof.put<...>("mutex.lock, contended"), whose names up to a comma are theirs. Prints
what has no row; `-v` prints all names.
"""
import pathlib
import re
import sys

# What no declaration shows: types that are awaited themselves, and what gives a task.
BY_ITSELF = {"task", "as_atomic", "uncancellable"}
# What looks like it, and is no function that gives one.
NOT_AWAITED = {"ipc::spawn", "io::operation.on"}

GIVES = re.compile(
    r"^\s*(?:\[\[nodiscard\]\] )?(?:inline )?"
    r"(?:(?:[\w:]*operation|[\w:]+_await)(?:<.*>)?|task<.*>|(auto)) (\w+)\(", re.M)
CLASS = re.compile(r"^class (?:\[\[nodiscard\]\] )?([\w:]+)(?: final)?(?: :.*)? \{")
ROW = re.compile(r'\bput<[^;"]*>\(\s*"([^",]+)')


def awaitables(path, prefix):
    """The names of the awaitable functions of one public header."""
    text = re.split(r"^// implementation", path.read_text(), flags=re.M)[0]
    owner, visible, space = "", True, []
    for line in text.splitlines():
        if m := re.match(r"namespace ([\w:]+) \{", line):
            space.append(m[1])
        elif re.match(r"\}  // namespace", line):
            space.pop()
        elif m := CLASS.match(line):
            owner, visible = m[1] + ".", False
        elif line.startswith("struct "):
            owner, visible = "", not line.endswith("{")
        elif line.startswith("};"):
            owner, visible = "", True
        elif line in ("public:", "private:", "protected:"):
            visible = line == "public:"
        elif "detail" in space or not visible or "operator" in line:
            continue
        elif m := GIVES.match(line):
            inside = "io::" if "runnel::io" in space else prefix
            yield inside + owner + m[2]


def main():
    root = pathlib.Path(sys.argv[1])
    expected = set(BY_ITSELF)
    for folder, prefix in (("runtime/include/runnel", ""), ("ipc/include/runnel/ipc", "ipc::")):
        for path in sorted((root / folder).glob("*.hpp")):
            expected.update(awaitables(path, prefix))
    expected -= NOT_AWAITED
    if len(expected) < 50:  # the headers are written in another way now
        sys.exit(f"only {len(expected)} awaitables found; see GIVES in {sys.argv[0]}")
    rows = set()
    for path in sorted((root / "tests").rglob("*no_loss_test.cpp")):
        rows.update(ROW.findall(path.read_text()))
    if "-v" in sys.argv:
        print(*sorted(expected), sep="\n")
    missing = sorted(expected - rows)
    for name in missing:
        print(f"{name} is in no table; add a scenario to a *no_loss_test.cpp")
    return 1 if missing else 0


sys.exit(main())
