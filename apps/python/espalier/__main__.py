"""``python -m espalier`` and the program ``espalier``: the command line, as the program of the packages has it."""

import sys

from . import _core


def main() -> int:
    """Runs the command line of this process; gives its exit status."""
    return _core.run_program(["espalier", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
