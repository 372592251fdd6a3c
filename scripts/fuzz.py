"""Feed one parser of tests/parsers.py until it raises something other than a `DpkiError`.

`scripts/fuzz` runs this: `fuzz.py PARSER [libFuzzer's arguments]`; without a parser it prints the
names of all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dpki"]):
    from tests.parsers import PARSERS, parses


def main(arguments: list[str]) -> None:
    """Fuzz until the time is over; libFuzzer ends the process with its own exit status."""
    if not arguments:
        print("\n".join(PARSERS))
        return
    name, *options = arguments
    parser = PARSERS[name]
    # What is larger than the fuzzer's inputs may be would be cut off.
    options.append(f"-max_len={max(4096, *(2 * len(seed) for seed in parser.seeds))}")
    folders = [option for option in options if not option.startswith("-")]
    if folders:
        for number, seed in enumerate(parser.seeds):
            Path(folders[0], f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options], lambda data: parses(parser, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
