#!/usr/bin/env python3
"""Weighs what `sam build` made, as Lambda stores it, and says for which processor it is.

    sizes.py FOLDER PROCESSOR

Every function below FOLDER must be one file `bootstrap` for PROCESSOR (x86_64 or arm64) that is under 8 MB zipped.
"""

import pathlib
import struct
import sys
import zlib

LIMIT = 8_000_000
MACHINES = {62: "x86_64", 183: "arm64"}
# Of a member in a zip file, beside its data.
ZIP_OVERHEAD = 200


def main():
    folder, processor = pathlib.Path(sys.argv[1]), sys.argv[2]
    functions = sorted(path.parent for path in folder.glob("*/bootstrap"))
    wrong = [] if functions else [f"there is no function below {folder}"]
    for function in functions:
        files = [path.name for path in function.iterdir()]
        data = (function / "bootstrap").read_bytes()
        machine = MACHINES.get(struct.unpack_from("<H", data, 18)[0], "another processor")
        packed = zlib.compressobj(6, zlib.DEFLATED, -15)
        size = len(packed.compress(data)) + len(packed.flush()) + ZIP_OVERHEAD
        print(f"  {function.name:<24} {len(data) / 1e6:6.2f} MB, zipped {size / 1e6:5.2f} MB, {machine}")
        if files != ["bootstrap"]:
            wrong.append(f"{function.name} has other files: {files}")
        if machine != processor:
            wrong.append(f"{function.name} is for {machine}")
        if size >= LIMIT:
            wrong.append(f"{function.name} is {size} bytes zipped; {LIMIT} are the limit")
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
