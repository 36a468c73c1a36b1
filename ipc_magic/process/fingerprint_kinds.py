"""The kinds of values that fingerprints tell apart, besides what pickle writes."""

from __future__ import annotations

import decimal
import logging
import pathlib
import re
import threading
import types
from collections.abc import Callable
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from ipc_magic.process import looking

BASES = looking.ids(list, tuple, dict, set, frozenset, int, float, str, bytes)
"""The builtin types whose content can be read of a subclass, too."""
BY_TEXT = looking.ids(complex, range, date, timedelta, type(...))
"""What their `repr` shows is all they are, and it asks nobody."""
SORTED = ({id(int)}, {id(str)}, {id(bytes)})
"""A set of one of these is put in order by C code."""
NOT_OF_THE_PERSON = frozenset(
    {"__dict__", "__weakref__", "__doc__", "_abc_impl", "__abstractmethods__"}
    | {"__annotations__", "__annotations_cache__", "__annotate_func__"}
)
"""Of a class: what the interpreter keeps there, and may fill when it is used."""
BY_IDENTITY = looking.ids(
    *(types.ModuleType, types.BuiltinFunctionType, types.CodeType, property),
    *(staticmethod, classmethod, cached_property, types.MappingProxyType),
    *(types.WrapperDescriptorType, types.GetSetDescriptorType),
    *(types.MemberDescriptorType, types.MethodDescriptorType),
    *(types.ClassMethodDescriptorType, decimal.Decimal, re.Pattern),
)
"""Which object it is is all there is to them, or all that matters here."""
KEEP_NOTES = (logging.Logger, pathlib.PurePath, threading.Thread)
"""They fill in when they are read what was not worked out before, or at a fork."""
READ_BASE: dict[type, Callable[[Any], Any]] = {
    object: lambda value: None,
    list: lambda value: [*list.__iter__(value)],
    tuple: lambda value: (*tuple.__iter__(value),),
    int: int.__index__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
}
"""What an instance of a subclass is as one of the builtin type itself."""
