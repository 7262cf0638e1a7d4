"""What Ctrl-C, `kill` and a closed terminal do to a command that has processes to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Somebody wants the stack to stop. No Exception, so that nothing on the way takes it for a failure."""


class StopSignals:
    """The first signal ends what is under way; from `stopping()` on, signals are only counted."""

    def __init__(self) -> None:
        self._stopping = False
        self._more = 0

    def stopping(self) -> None:
        """From here on nothing is interrupted."""
        self._stopping = True

    def hurry(self) -> bool:
        """Whether a signal came while stopping: nobody wants to wait any longer."""
        return self._more > 0

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        if self._stopping:
            self._more += 1
        else:
            self._stopping = True
            raise StopRequested


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Listen to the signals, also if this process was started with them ignored, as a shell's `&` does."""
    receiver = StopSignals()
    before = {number: signal.signal(number, receiver._receive) for number in STOPPING}
    try:
        yield receiver
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
