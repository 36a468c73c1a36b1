"""The arrows of the house: which room may use which.

A room never imports its user, and the four rooms that touch the operating system
do not know each other: an experiment hands what one found to the other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent / "ipc_magic"

MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"errors", "experiments", "magics", "options", "results"},
    "__main__": {"errors", "experiments", "options", "results"},
    "magics": {"compat", "completion", "errors", "experiments", "options", "results"},
    "completion": set(),
    "pytest_plugin": {"compat", "errors", "experiments", "results"},
    "options": {"arguments", "errors"},
    "arguments": {"errors"},
    "experiments": {"errors", "memory", "pickling", "process", "results", "traffic"},
    "process": {"compat", "errors"},
    "pickling": {"errors"},
    "memory": {"errors"},
    "traffic": {"errors"},
    "results": {"errors", "render"},
    "render": {"errors"},
    "compat": set(),
    "errors": set(),
}
# Where a kernel may lack it or a child needs it: `process` only inside functions.
MAY_IMPORT_IPYTHON = {"__main__", "compat", "magics", "pytest_plugin"}
IN_FUNCTIONS_ONLY = {"completion", "process"}
HEAVY = ("IPython", "cloudpickle", "jinja2", "numpy", "pandas", "rich", "torch")


def broken_arrows(house: Path) -> list[str]:
    """Say `file:line imports X: not allowed` for every broken arrow."""
    return [
        complaint
        for path in sorted(house.rglob("*.py"))
        for complaint in _broken_in(path, house)
    ]


def _broken_in(path: Path, house: Path) -> list[str]:
    parts = path.relative_to(house).with_suffix("").parts
    room = parts[0]
    visitor = _Imports(house.name, parts)
    visitor.visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    found = []
    for line, name, in_function, for_types in visitor.found:
        top, *rest = name.split(".")
        if top == house.name:
            target = rest[0] if rest and rest[0] in _rooms(house) else "__init__"
            fine = target == room or target in MAY_IMPORT.get(room, set())
        elif top == "IPython":
            fine = (
                for_types
                or room in MAY_IMPORT_IPYTHON
                or (room in IN_FUNCTIONS_ONLY and in_function)
            )
        else:
            fine = True
        if not fine:
            place = path.relative_to(house.parent)
            found.append(f"{place}:{line} imports {name}: not allowed")
    return found


def _rooms(house: Path) -> set[str]:
    built = {path.stem for path in house.iterdir() if path.suffix in {"", ".py"}}
    return set(MAY_IMPORT) | built


class _Imports(ast.NodeVisitor):
    """Collects (line, name, inside a function, only for types) of all imports."""

    def __init__(self, package: str, parts: tuple[str, ...]) -> None:
        self.found: list[tuple[int, str, bool, bool]] = []
        self._module = (package, *parts)  # an `__init__` counts as a module in it
        self._functions = 0
        self._for_types = False

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            above = ".".join(self._module[: -node.level])
            base = f"{above}.{base}".rstrip(".")
        # `from package import room` names a room, `from room import thing` a thing.
        for alias in node.names:
            self._add(node, f"{base}.{alias.name}")

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in {"import_module", "__import__"} and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                self._add(node, name.value)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._functions += 1
        self.generic_visit(node)
        self._functions -= 1

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)  # type: ignore[arg-type]

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test).rpartition(".")[2] != "TYPE_CHECKING":
            self.generic_visit(node)
            return
        self._for_types = True
        for child in node.body:
            self.visit(child)
        self._for_types = False
        for child in node.orelse:
            self.visit(child)

    def _add(self, node: ast.AST, name: str) -> None:
        line = getattr(node, "lineno", 0)
        self.found.append((line, name, self._functions > 0, self._for_types))


def test_every_arrow_of_the_house_holds():
    assert not (found := broken_arrows(HOUSE)), "\n" + "\n".join(found)


def test_every_room_has_its_line_in_the_table():
    assert {path.stem for path in HOUSE.rglob("*.py")}, "the house is empty"
    built = {path.relative_to(HOUSE).parts[0] for path in HOUSE.rglob("*.py")}
    assert {name.removesuffix(".py") for name in built} <= set(MAY_IMPORT)


def test_the_table_has_no_circle():
    order: list[str] = []
    left = {room: set(uses) for room, uses in MAY_IMPORT.items()}
    while free := [room for room, uses in left.items() if uses <= set(order)]:
        order += free
        left = {room: uses for room, uses in left.items() if room not in free}
    assert not left


SEEDED = {
    "memory/maps.py": ("import os\nfrom ipc_magic.process import fork", 2),
    "process/child.py": ("from ..experiments import inprocess", 1),
    "process/cell.py": ("from IPython import get_ipython", 1),
    "results/base.py": ("def f():\n    from .. import magics", 2),
    "render/text.py": ("if TYPE_CHECKING:\n    import ipc_magic.results.base", 2),
    "render/html.py": ("import_module('ipc_magic.traffic')", 1),
    "errors.py": ("import ipc_magic", 1),
    "traffic/__init__.py": ("from .. import pickling", 1),
    "experiments/x.py": ("async def f():\n    import IPython", 2),
}
ALLOWED = {
    "process/fork.py": "def f():\n    from IPython import get_ipython",
    "process/wire.py": "from . import merge\nfrom .merge import Text",
    "experiments/y.py": "from ipc_magic.process.fork import Child",
    "memory/z.py": "if TYPE_CHECKING:\n    import IPython\nimport numpy",
    "__init__.py": "def load():\n    from ipc_magic.magics import register",
}


@pytest.fixture
def small_house(tmp_path):
    house = tmp_path / "ipc_magic"
    for name, text in ALLOWED.items():
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        (house / name).write_text(text)
    return house


@pytest.mark.parametrize("name", SEEDED)
def test_a_broken_arrow_is_found(name, small_house):
    text, line = SEEDED[name]
    (small_house / name).parent.mkdir(exist_ok=True)
    (small_house / name).write_text(text)
    (found,) = broken_arrows(small_house)
    assert found.startswith(f"ipc_magic/{name}:{line} imports ")
    assert found.endswith(": not allowed")


def test_a_sound_house_passes(small_house):
    assert broken_arrows(small_house) == []


def test_importing_the_package_imports_nothing_heavy(child_env):
    code = (
        "import sys, ipc_magic\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
