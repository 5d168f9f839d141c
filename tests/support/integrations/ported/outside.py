"""A factor for each step of a script. What it is derived from is kept here, where nothing saves it.

The first argument of the script says how: "right": it is always the same; "number" or "iterator": it depends on one.
"""

import sys

count = 0
places = iter(range(1, 1_000_000))


def factor() -> float:
    global count
    match sys.argv[1]:
        case "number":
            count += 1
            return 1 / count
        case "iterator":
            return 1 / next(places)
        case _:
            return 1.0
