"""What the last cell left in its children, until it is fetched or dropped."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipc_magic import errors
from ipc_magic.experiments.inprocess_ends import returned
from ipc_magic.memory import reading
from ipc_magic.process import fork, guards, interrupts, parcel, proof
from ipc_magic.process.cell import Cell
from ipc_magic.process.ending import describe_exit
from ipc_magic.process.front import Front, ShellFront
from ipc_magic.process.kept import Gone, Kept, Worker
from ipc_magic.process.monitor import Monitor
from ipc_magic.process.watch import Watch
from ipc_magic.render.plain import shorten
from ipc_magic.render.units import size
from ipc_magic.results.base import Finding
from ipc_magic.results.fetched import Fetched, FetchedFrom
from ipc_magic.results.setting import Setting

_NOTHING = "no child stays: one does when a cell ran longer than 5 s and left names"
