"""What the benchmarks of simulators measure with."""

import statistics
import time
from collections.abc import Callable


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU time of the process, of all its threads."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return 1000 * statistics.median(found)
