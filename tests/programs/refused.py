#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""refused.py COMPILER INCLUDE... : programs that must not compile, and what the compiler must say.

Each file of refused/ says `// advice: REGEX`, searched in the compiler's output; `// only: gnu12`
leaves it to g++ before 13. `// accepted` is the control: that one must compile.
"""
import pathlib
import re
import subprocess
import sys

compiler, includes = sys.argv[1], sys.argv[2:]
version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
major = subprocess.run([compiler, "-dumpversion"], capture_output=True, text=True).stdout
gnu12 = "clang" not in version and int(major.split(".")[0]) < 13
command = [compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Werror=unused-result",
           *(f"-I{i}" for i in includes)]
bad = checked = 0
for path in sorted((pathlib.Path(__file__).parent / "refused").glob("*.cpp")):
    text = path.read_text()
    if "// only: gnu12" in text and not gnu12:
        continue
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=120)
    checked += 1
    if "// accepted" in text:
        fine, why = done.returncode == 0, "must compile"
    else:
        advice = re.search(r"// advice: (.*)", text)[1]
        fine = done.returncode != 0 and re.search(advice, done.stderr)
        why = f"must be refused with: {advice}"
    if not fine:
        bad += 1
        print(f"{path.name}: {why}\n{done.stderr[:3000]}")
print(f"{checked} programs, {bad} not as they must be")
sys.exit(bad != 0 or checked == 0)
