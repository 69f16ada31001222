"""End with the process that started this one, however that one ended.

Linux sends a signal at the death of a parent, but takes the thread that made a process for its
parent: decoders are made by threads that end. So a thread of the child looks who its parent is.
"""

import os
import threading
import time

LOOK_SECONDS = 0.5


def end_with(parent: int, signal_number: int) -> None:
    """Send this process a signal as soon as its parent is another than ``parent``, or is already.

    Parameters
    ----------
    parent
        Process id, told by the parent: one that died before this call is noticed too.
    signal_number
        What the process shall end of.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal_number)

    threading.Thread(target=look, name="parent", daemon=True).start()
