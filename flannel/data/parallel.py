"""Work on many rows in threads, with every fault reported at the end."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from flannel.data.file_checks import RadiographError
from flannel.progress import progress


def in_threads(
    work: Callable[[int], None], rows: Sequence[int], workers: int | None, title: str
) -> list[str]:
    """Does the work for each row and gives the files' faults, in the order of the rows.

    A file that cannot be read does not stop the others; any other error stops all of them.

    Args:
        work: What is done for a row.
        rows: The rows.
        workers: Threads beside each other; None takes one per core.
        title: What is being done, such as "Decoding radiographs".

    Returns:
        A sentence for each `RadiographError`.
    """

    def guarded(row: int) -> str:
        try:
            work(row)
        except RadiographError as fault:
            return str(fault)
        return ""

    if not rows:
        return []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        try:
            done = list(progress(pool.map(guarded, rows), len(rows), title))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [fault for fault in done if fault]
