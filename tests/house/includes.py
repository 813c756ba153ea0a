#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""includes.py ROOT: an include only goes down.

Checks every #include below runtime/ and ipc/ against the floors below, and prints what breaks them.
"""
import pathlib
import re
import sys

# The public headers of the runtime, lowest floor first. A header may include its own floor and those
# below, but sync and io, which stand side by side, not each other. A new header is added here.
FLOORS = {
    "base": "error unique_fd result time detail/frame_pool detail/list detail/time",
    "task": "awaiter task outcome suppressed_errors race when_all with_timeout nursery shield finally "
            "cancel_on as_result as_atomic uncancellable sleep yield name_task detail/*",
    "loop": "loop run fork",
    "sync": "event mutex semaphore condition barrier",
    "io": "io watch stream pipe ready stdio",
    "net": "",
    "all": "runnel testing/no_loss",
}
RANK = {"base": 0, "task": 1, "loop": 2, "sync": 3, "io": 3, "net": 4, "all": 5}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

root = pathlib.Path(sys.argv[1])
problems = []


def floor_of(header):
    for name, headers in FLOORS.items():
        if header in headers.split():
            return name
    if header.startswith("detail/"):
        return "task"
    return None


def includes(path):
    return [(m[1], m[2]) for m in INCLUDE.finditer(path.read_text())]


def sources(folder):
    return sorted(p for p in (root / folder).rglob("*") if p.suffix in (".hpp", ".cpp", ".h"))


def own_name(name):
    """unique_fd for runnel/unique_fd.hpp; None for what is not the runtime's."""
    if name.startswith("runnel/") and not name.startswith("runnel/ipc"):
        return name.removeprefix("runnel/").removesuffix(".hpp")
    return None


# Floors.
graph = {}
public = root / "runtime/include/runnel"
for path in sources("runtime/include"):
    header = path.relative_to(public).as_posix().removesuffix(".hpp")
    floor = floor_of(header)
    if floor is None:
        problems.append(f"{path}: on no floor; add it to the table in tests/house/includes.py")
        continue
    graph[header] = []
    for kind, name in includes(path):
        other = own_name(name)
        if other is None:
            continue
        graph[header].append(other)
        below = floor_of(other)
        if below and below != floor and RANK[below] >= RANK[floor]:
            problems.append(f"{path}: {floor} includes <{name}> of {below}")

# Two headers of one floor may not need each other.
state = {}


def visit(header, trail):
    if state.get(header) == "open":
        problems.append("a circle of includes: " + " -> ".join(trail + [header]))
    elif header not in state:
        state[header] = "open"
        for other in graph.get(header, []):
            visit(other, trail + [header])
    state[header] = "done"


for header in graph:
    visit(header, [])

# The runtime knows nothing of ipc; the ring is known to one source; ipc sees public headers only.
knows_ring = []
for path in sources("runtime"):
    for kind, name in includes(path):
        if name.startswith("runnel/ipc"):
            problems.append(f"{path}: the runtime includes <{name}>")
        if name.startswith("liburing"):
            knows_ring.append(path)
for path in knows_ring:
    if path.is_relative_to(root / "runtime/include"):
        problems.append(f"{path}: a public header includes liburing")
if len(knows_ring) > 1:
    problems.append("more than one file includes liburing: " + ", ".join(map(str, knows_ring)))

private = {p.relative_to(root / "runtime/src").as_posix() for p in sources("runtime/src")}
for path in sources("ipc"):
    for kind, name in includes(path):
        if name.startswith("liburing") or ".." in name:
            problems.append(f"{path}: ipc includes {name}")
        elif kind == '"' and name in private and not (root / "ipc/src" / name).exists():
            problems.append(f"{path}: ipc includes the runtime's private {name}")
        elif path.is_relative_to(root / "ipc/include") and kind == '"':
            problems.append(f'{path}: a public header includes "{name}"')

for problem in problems:
    print(problem)
sys.exit(1 if problems else 0)
