"""Run as a program of its own: the places where a regular expression matches, within limits of time and memory.

A pattern such as ``(a+)+b`` takes time exponential in the text and cannot be interrupted from a thread, so it is
searched for in a process that can be ended. Nothing but the standard library is imported, for a quick start.

Standard input: the pattern's length in bytes as text, a newline, the pattern, the text, both UTF-8. Standard output:
begin and end of each match that is not empty, as 64-bit integers. Exit code 3: a pattern that is none, with the reason.
"""

import array
import re
import resource
import sys

MOST_BYTES = 4 << 30
LABEL = "label"


def main() -> int:
    """Read, search, write."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    size = int(sys.stdin.buffer.readline())
    pattern = sys.stdin.buffer.read(size).decode("utf-8", "surrogatepass")
    text = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        print(error, file=sys.stderr)
        return 3
    group: int | str = LABEL if LABEL in compiled.groupindex else 0
    spans = array.array("q")
    for found in compiled.finditer(text):
        begin, end = found.span(group)
        if end > begin:
            spans.append(begin)
            spans.append(end)
    sys.stdout.buffer.write(spans.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
