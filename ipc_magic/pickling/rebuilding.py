"""An unpickler that goes on where loading fails, and knows what it was building.

Objects are known by their place in the memo, which is the same when they are loaded
as when they were dumped: so a failure here names an object over there.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
from collections.abc import Callable, Container
from types import TracebackType
from typing import Any, NamedTuple

from ipc_magic.pickling import children
from ipc_magic.pickling.gone import Gone
from ipc_magic.pickling.sifting import words

Note = Callable[[int], object]

# As many objects are looked through for what is gone when a call fails.
BOUND = 10_000
_FAILED = object()
_OWN_FILES = {__file__, pickle.__file__}


class Rebuilt(NamedTuple):
    """What could not be made, by places in the memo, and why."""

    failures: dict[int, str]
    unjudged: dict[int, str]
    """What has something in it that is gone: that may be the only reason."""


def rebuild(data: Any, package: str, note: Note, skip: Container[int] = ()) -> Rebuilt:
    """Load a pickle to its end, and return why some of its objects could not be made.

    `note` is called with the place of an object before code of its class may run.
    What is in `skip` is not made.
    """
    unpickler = _class(package)(io.BytesIO(data))
    unpickler.note, unpickler.skip = note, skip
    unpickler.load()
    return Rebuilt(unpickler.failures, unpickler.unjudged)


@functools.cache
def _class(package: str) -> Any:
    """Return the unpickler of a package, in Python, with its operations guarded."""
    base: Any = vars(pickle)["_Unpickler"]
    names: dict[str, Any] = {}
    if package == "dill":
        its_own = importlib.import_module("dill").Unpickler(io.BytesIO())

        def find_class(self: Any, module: str, name: str) -> Any:
            # In C, it goes by the protocol of the pickle, which it has not seen.
            if "." in name and self.proto >= 4:
                return base.find_class(self, module, name)
            return its_own.find_class(module, name)

        names["find_class"] = find_class
    guarded: Any = type("Rebuilding", (_Rebuilding, base), names)
    guarded.dispatch = {
        code: getattr(guarded, operation.__name__, operation)
        for code, operation in base.dispatch.items()
    }
    return guarded


class _Rebuilding:
    """The operations that run code of classes, under guard."""

    memo: dict[int, Any]
    stack: list[Any]
    metastack: list[list[Any]]
    readline: Callable[[], bytes]
    find_class: Callable[[str, str], Any]
    pop_mark: Callable[[], list[Any]]
    note: Note
    skip: Container[int]

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)  # type: ignore[call-arg]
        self.failures: dict[int, str] = {}
        self.unjudged: dict[int, str] = {}
        self._above: Any = super()
        self._gone = 0
        # Of each object: its place, and how many were gone when it was made.
        self._made: dict[int, tuple[int, int]] = {}

    def load_memoize(self) -> None:
        obj = self.stack[-1]
        self._made[id(obj)] = len(self.memo), self._gone
        self.memo[len(self.memo)] = obj

    def load_put(self) -> None:
        self._above.load_put()
        self._remember()

    def load_binput(self) -> None:
        self._above.load_binput()
        self._remember()

    def load_long_binput(self) -> None:
        self._above.load_long_binput()
        self._remember()

    def _remember(self) -> None:
        self._made[id(self.stack[-1])] = len(self.memo) - 1, self._gone

    def load_global(self) -> None:
        module, name = self.readline()[:-1].decode(), self.readline()[:-1].decode()
        self._make(lambda: self.find_class(module, name), ())

    def load_stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._make(lambda: self.find_class(module, name), ())

    def load_reduce(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self._make_by(function, function, args)

    def load_newobj(self) -> None:
        args, cls = self.stack.pop(), self.stack.pop()
        self._make_by(cls, getattr(cls, "__new__", None), (cls, *args))

    def load_newobj_ex(self) -> None:
        named, args, cls = self.stack.pop(), self.stack.pop(), self.stack.pop()
        new = getattr(cls, "__new__", None)
        self._make_by(
            cls, functools.partial(new, **named) if new else None, (cls, *args)
        )

    def _make_by(self, maker: Any, function: Any, args: Any) -> None:
        if maker is Gone or type(maker) is Gone:
            self._lose()
        else:
            self._make(lambda: function(*args), args)

    def _make(self, run: Callable[[], Any], args: Any) -> None:
        made = self._run(len(self.memo), run, args, self._gone)
        if made is _FAILED:
            self._lose()
        else:
            self.stack.append(made)

    def _lose(self) -> None:
        self._gone += 1
        self.stack.append(Gone())

    def load_build(self) -> None:
        self._fill(self._above.load_build, self.stack, -2)

    def load_append(self) -> None:
        self._fill(self._above.load_append, self.stack, -2)

    def load_setitem(self) -> None:
        self._fill(self._above.load_setitem, self.stack, -3)

    def load_appends(self) -> None:
        self._fill(self._above.load_appends, self.metastack[-1], -1)

    def load_setitems(self) -> None:
        self._fill(self._above.load_setitems, self.metastack[-1], -1)

    def load_additems(self) -> None:
        self._fill(self._above.load_additems, self.metastack[-1], -1)

    def _fill(self, run: Callable[[], None], stack: list[Any], at: int) -> None:
        """Run what puts things into the object at this place of a stack."""
        obj, rest = stack[at], len(stack) + at + 1
        if type(obj) is list:
            run()
            return
        things = stack[rest:] if stack is self.stack else self.stack
        place, gone = self._made.get(id(obj), (-1, 0))
        if type(obj) is Gone or self._run(place, run, things, gone) is _FAILED:
            # Wherever it ended, only the object is left.
            if self.stack is not stack:
                self.pop_mark()
            del stack[rest:]

    def _run(self, place: int, run: Callable[[], Any], things: Any, gone: int) -> Any:
        self.note(place)
        if place in self.skip:
            return _FAILED
        before = Gone.touched
        try:
            return run()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  a class may raise anything
            # Code in C looks at types without a trace of it.
            by_itself = _in_python(error.__traceback__) and Gone.touched == before
            reason = words(error)
        if Gone.__name__ in reason:
            by_itself = False
        if by_itself or (self._gone == gone and not _holds_gone(things)):
            self.failures.setdefault(place, reason)
        else:
            self.unjudged.setdefault(place, reason)
        return _FAILED


def _in_python(traceback: TracebackType | None) -> bool:
    """Say whether an error comes from code in Python, other than the unpickler's."""
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename not in _OWN_FILES:
            return True
        traceback = traceback.tb_next
    return False


def _holds_gone(things: Any) -> bool:
    """Say whether something is gone in these, as far as a bounded look goes."""
    seen: set[int] = set()
    level = [things]
    while level and len(seen) < BOUND:
        below: list[Any] = []
        for obj in level:
            kind = type(obj)
            if kind is Gone:
                return True
            if kind is dict:
                below += [*obj, *obj.values()]
            elif kind is list or kind is tuple or kind is set or kind is frozenset:
                below += obj
            else:
                below.append(children.attributes_of(obj))
        level = [obj for obj in below if id(obj) not in seen and obj is not None]
        seen.update(map(id, level))
    return False
