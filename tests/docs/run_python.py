"""Runs a block of Python in the project of the working directory: a script, or a session."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import django


def main(language: str, code: str) -> int:
    """Run it; the exit code."""
    sys.path.insert(0, str(Path.cwd()))
    django.setup()
    if language == "python":
        exec(compile(code, "<example>", "exec"), {"__name__": "__main__"})
        return 0
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest(code, {}, "example", None, 0)
    runner = doctest.DocTestRunner(optionflags=options)
    return 1 if runner.run(test, out=sys.stdout.write).failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.stdin.read()))
