"""The notebooks in examples/ run, and the outputs saved in them are of that kind.

`python tests/test_examples.py` runs them and saves what they show.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
MAY_RAISE = "raises-exception"
# All that a saved notebook tells of where it ran: nothing.
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def execute(path: Path) -> Any:
    """Return the notebook at `path` with the outputs of a run in this Python."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="examples-") as home:
        # A specification of our own: the installed `python3` may be any Python.
        folder = Path(home, "kernels", "python3")
        folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec))
        os.environ["IPYTHONDIR"] = str(Path(home, "ipython"))
        os.environ["JUPYTER_RUNTIME_DIR"] = home
        specs = KernelSpecManager(
            kernel_dirs=[str(folder.parent)], ensure_native_kernel=False
        )
        manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
        NotebookClient(
            notebook,
            km=manager,
            timeout=60,
            record_timing=False,
            resources={"metadata": {"path": home}},
        ).execute(cleanup_kc=True)
    return notebook


def save(notebook: Any, path: Path) -> None:
    """Write a notebook in which nothing tells where and when it ran."""
    import nbformat

    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def saved(request):
    """Give the path of a notebook, and what is saved there."""
    text = request.param.read_text(encoding="utf-8")
    return request.param, json.loads(text)


def kinds(output: dict[str, Any]) -> tuple[str, ...]:
    """Return what sort of output it is, without what differs between runs."""
    if output["output_type"] == "stream":
        return ("stream", output["name"])
    if output["output_type"] == "error":
        return ("error", output["ename"])
    return (output["output_type"], *sorted(output["data"]))


def shown(cell: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the sorts of a cell's outputs; a stream may come in several pieces.

    A line that tells of progress comes and goes, on a slow machine: it leaves nothing.
    """
    nothing = [{"text/plain": text} for text in ("", [])]  # a saved text is its lines
    left = (o for o in cell["outputs"] if o.get("data") not in nothing)
    return list(dict.fromkeys(map(kinds, left)))


def test_there_are_examples():
    if not EXAMPLES.exists():
        pytest.skip("examples/ is not beside these tests")
    assert NOTEBOOKS


def test_a_saved_notebook_tells_nothing_of_where_it_ran(saved):
    path, notebook = saved
    assert notebook["metadata"] == METADATA
    assert [c["id"] for c in notebook["cells"]] == [
        f"cell-{number}" for number, _ in enumerate(notebook["cells"], start=1)
    ]
    assert all(set(c["metadata"]) <= {"tags"} for c in notebook["cells"])
    text = path.read_text(encoding="utf-8")
    assert not re.search("/(home|root|tmp|Users)/|site-pack", text)


@pytest.mark.slow
def test_a_notebook_runs_and_shows_what_is_saved_in_it(saved, child_env, tmp_path):
    path, before = saved
    # In a process of its own, since nbclient leaves an event loop behind.
    done = subprocess.run(
        [sys.executable, __file__, str(path), str(tmp_path / path.name)],
        env=child_env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    after = json.loads((tmp_path / path.name).read_text(encoding="utf-8"))
    for saved_cell, cell in zip(before["cells"], after["cells"], strict=True):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        assert shown(cell) == shown(saved_cell), source
        assert cell["execution_count"] == saved_cell["execution_count"], source
        raised = any(kind[0] == "error" for kind in shown(cell))
        assert raised == (MAY_RAISE in cell["metadata"].get("tags", [])), source


def test_the_claims_are_asserted(saved):
    _, notebook = saved
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in code)
    assert any("assert " in "".join(cell["source"]) for cell in code)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        source, target = map(Path, sys.argv[1:])
        save(execute(source), target)
    else:
        for each in NOTEBOOKS:
            save(execute(each), each)
