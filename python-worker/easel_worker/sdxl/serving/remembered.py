"""A cache of a function's results that can be asked what it has."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """A function that remembers its newest results. Safe for several threads.

    Unlike with `functools.lru_cache`, a look-up does not call the function and keeps nothing alive.
    """

    def __init__(self, make: Callable[..., T], most: int) -> None:
        """Args:

        make: takes hashable arguments. Threads that ask for one result at once may each make it.
        most: how many results are remembered.
        """
        self.make = make
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Hashable, ...], T] = OrderedDict()

    def __call__(self, *args: Hashable) -> T:
        """The remembered result, or a new one."""
        with self._lock:
            if args in self._known:
                self._known.move_to_end(args)
                return self._known[args]
        made = self.make(*args)
        with self._lock:
            self._known[args] = made
            self._known.move_to_end(args)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        return made

    def __contains__(self, args: tuple[Hashable, ...]) -> bool:
        """Whether the result for these arguments is remembered. Counts as no use of it."""
        with self._lock:
            return args in self._known
