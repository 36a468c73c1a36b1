"""Tab completion of a magic's options in IPython."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Complete = Callable[[str, str], "list[str]"]


def offer(shell: Any, magic: str, complete: Complete) -> Callable[[], None]:
    """Have `shell` complete the options of `%magic`; return what takes that back."""
    line_of = re.compile(rf"^\s*%%?{magic}\s(?P<line>.*)$")

    def options_for(text: str) -> list[str]:
        match = line_of.match(text)
        return complete(magic, match["line"]) if match else []

    try:
        return _as_matcher(shell, magic, options_for)
    except ImportError:
        return _as_hook(shell, magic, options_for)


def _as_matcher(
    shell: Any, magic: str, options_for: Callable[[str], list[str]]
) -> Callable[[], None]:
    """Offer options alone: `-` is no Python that could be completed (IPython 8.6)."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    # Of several with one identifier IPython heeds the last.
    @context_matcher(identifier=f"ipc_magic.{magic}")
    def match_options(context: Any) -> Any:
        found = options_for(context.line_with_cursor[: context.cursor_position])
        completions = [SimpleCompletion(text=text, type="option") for text in found]
        return {"completions": completions, "suppress": bool(found)}

    matchers = shell.Completer.custom_matchers
    matchers.append(match_options)
    return lambda: matchers.remove(match_options)


def _as_hook(
    shell: Any, magic: str, options_for: Callable[[str], list[str]]
) -> Callable[[], None]:
    """Offer options beside Python's names: all that older IPython can do."""

    def hook(_self: Any, event: Any) -> list[str]:
        return options_for(event.line)

    patterns = [f"%{magic}", f"%%{magic}"]
    for pattern in patterns:
        shell.set_hook("complete_command", hook, str_key=pattern)

    def take_back() -> None:
        for pattern in patterns:
            shell.strdispatchers["complete_command"].strs.pop(pattern, None)

    return take_back
