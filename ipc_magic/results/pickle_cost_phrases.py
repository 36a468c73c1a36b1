"""Names, paths and circumstances as the sentences of `%pickle_cost` spell them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc_magic.render.plain import clean, shorten

if TYPE_CHECKING:
    from ipc_magic.results.pickle_cost import PickleCost, PickleCostTable

# The longest name and the longest path within a sentence, in characters; and the
# longest expression in the first one, which is to be one line.
NAME, PATH, EXPRESSION = 32, 48, 24

# A pickle that is larger than this, and than twice what holds it, has more in it.
_UNSEEN_BYTES = 64 * 1024

# By the names of the option; what people know a transport by.
_TRANSPORTS = {
    "pipe": "Pipe",
    "queue": "Queue",
    "simple_queue": "SimpleQueue",
    "manager": "Manager",
    "unix_socket": "Unix socket",
    "process_pool_executor": "ProcessPoolExecutor",
    "pool": "Pool",
}


def elide(text: str, length: int) -> str:
    """Cut to one line of at most `length` characters: both ends of a path tell."""
    line = clean(text).strip()
    if len(line) <= length:
        return line
    head = (length - 3) // 2
    return f"{line[:head]}...{line[head + 3 - length :]}"


def has_unseen(deep_size_bytes: int | None, pickled_bytes: int | None) -> bool:
    """Say whether more was pickled than what was seen in memory can hold."""
    if deep_size_bytes is None or pickled_bytes is None:
        return False
    return pickled_bytes > max(2 * deep_size_bytes, _UNSEEN_BYTES)


def quoted(expression: str) -> str:
    """Return the expression as it stands in a sentence."""
    return f"`{elide(expression, EXPRESSION)}`"


def transport_words(name: str) -> str:
    """Return what people know a transport by."""
    return _TRANSPORTS.get(name, shorten(name, NAME))


def setting_words(
    result: PickleCost | PickleCostTable, *, full: bool
) -> tuple[str, ...]:
    """Say with what and where the figures were measured."""
    setting, usual = result.setting, result.usual_protocol
    said = f"{result.pickler} protocol {result.protocol}"
    if result.pickler == "pickle" and usual is not None:
        is_usual = usual == result.protocol
        said += (
            " (multiprocessing's default here)"
            if is_usual
            else f" (multiprocessing uses {usual})"
        )
    if full:
        here = (f"Python {setting.python}", setting.system, setting.threads_words)
        return (said, *(each for each in here if each is not None))
    return (said, f"{setting.python_words}, {setting.system}")
