"""The advice fits the type; types are named without asking anybody."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import functools
import io
import mmap
import multiprocessing
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from ipc_magic.pickling import advice


class Own:
    pass


class OwnLock(socket.socket):
    pass


def a_generator() -> Iterator[int]:
    yield 1


def a_traceback() -> Any:
    try:
        raise ValueError
    except ValueError as error:
        return error.__traceback__


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "lock": (threading.Lock, "make a new one"),
    "rlock": (threading.RLock, "make a new one"),
    "condition": (threading.Condition, "make a new one"),
    "thread": (lambda: threading.Thread(target=print), "start a thread"),
    "thread local": (threading.local, "one thread"),
    "socket": (socket.socket, "connect anew"),
    "a socket's subclass": (OwnLock, "connect anew"),
    "database": (lambda: sqlite3.connect(":memory:"), "connect anew"),
    "text file": (lambda: io.TextIOWrapper(io.FileIO(os.devnull)), "send its path"),
    "raw file": (lambda: io.FileIO(os.devnull), "send its path"),
    "mmap": (lambda: mmap.mmap(-1, 1), "open it anew"),
    "generator": (a_generator, "list of what it gives"),
    "keys": ({1: 2}.keys, "list(...)"),
    "mapping proxy": (lambda: types.MappingProxyType({}), "dict(...)"),
    "memoryview": (lambda: memoryview(b""), "bytes(...)"),
    "module": (lambda: types, "import it"),
    "frame": (sys._getframe, "text"),
    "traceback": (a_traceback, "text"),
    "code": (lambda: a_generator.__code__, "source"),
    "weak reference": (lambda: weakref.ref(Own), "the object itself"),
    "dead proxy": (lambda: weakref.proxy(Own()), "the object itself"),
    "weak values": (weakref.WeakValueDictionary, "the object itself"),
    "pointer": (lambda: ctypes.pointer(ctypes.c_int()), "not its address"),
    "future": (concurrent.futures.Future, "its result"),
    "executor": (lambda: concurrent.futures.ThreadPoolExecutor(1), "made it"),
    "match": (lambda: re.match("a", "a"), "groups()"),
    "queue": (multiprocessing.get_context("fork").SimpleQueue, "initializer"),
    "semaphore": (multiprocessing.get_context("fork").Semaphore, "initializer"),
    "lambda": (lambda: lambda: 0, "top level of a module"),
    "anything": (Own, "__getstate__"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_advice_fits(case: str) -> None:
    make, part = CASES[case]
    obj = make()
    word, what_to_do = advice.about(obj)
    assert part in what_to_do
    assert word
    assert len(what_to_do) < 72
    if case != "dead proxy" and hasattr(obj, "close") and case != "generator":
        obj.close()


def test_processes_and_loops_are_known() -> None:
    with subprocess.Popen(["true"]) as process:
        assert "made it" in advice.about(process)[1]
    with closing(asyncio.new_event_loop()) as loop:
        assert "its result" in advice.about(loop)[1]


def test_functions_and_classes_are_told_apart() -> None:
    class Local:
        pass

    def nested() -> None: ...

    words = [
        advice.word_for(each)
        for each in (lambda: 0, nested, a_generator, Local, Own, Local(), Own())
    ]
    name = "tests.pickling.test_pickling_advice.Own"
    assert words[:-2] == [
        "lambda",
        "nested function",
        "function",
        "local class",
        "class",
    ]
    assert words[-2] == "Local"
    assert words[-1] in {name, "Own", f"{__name__}.Own"}


def test_each_stage_has_its_advice() -> None:
    assert "__init__" in advice.about(ValueError(), "load")[1]
    assert "__setstate__" in advice.about(Own(), "load")[1]
    assert "fork" in advice.about(Own, "spawn")[1]


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError("asked the metaclass")

    def __instancecheck__(cls, instance: object) -> bool:
        raise AssertionError("asked the metaclass")


class Hostile(metaclass=Meta):
    @property
    def __class__(self) -> Any:
        raise AssertionError("asked the object")


def test_neither_object_nor_class_is_asked() -> None:
    obj = object.__new__(Hostile)
    assert advice.about(obj)[0].endswith("Hostile")
    assert advice.about(Hostile)[0] == "class"


def test_every_name_in_the_table_is_there_once() -> None:
    names = [name for row in advice.TABLE for name in row.names]
    assert len(names) == len(set(names))
    assert all(name.count(".") >= 1 for name in names)


@pytest.mark.parametrize("kind", [functools.partial, property])
def test_what_is_in_no_row_gets_the_usual_advice(kind: Any) -> None:
    obj = kind(print)
    assert advice.about(obj) == (
        advice.full_name(kind).removeprefix("builtins."),
        advice.UNKNOWN,
    )
