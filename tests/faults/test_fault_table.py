"""Every row of the fault tables has a test, or a reason why not."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TABLE = runpy.run_path(str(HERE / "table.py"))
FAULTS, REASONS = TABLE["FAULTS"], TABLE["REASONS"]
OF_PICKLE_COST = runpy.run_path(str(HERE / "pickle_cost_table.py"))["FAULTS"]
OF_COW_WATCH = runpy.run_path(str(HERE / "cow_watch_table.py"))["FAULTS"]
OF_PARKED = runpy.run_path(str(HERE / "parked_table.py"))["FAULTS"]
OF_MAGICS = OF_PICKLE_COST | OF_COW_WATCH | OF_PARKED


def marked(text):
    """Map the tests in `text` to the rows that their `fault` marks name.

    A mark on a class or in `pytestmark` counts for no test: each has its own.
    """
    return {
        node.name: [row for each in node.decorator_list for row in rows_of(each)]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
    }


def rows_of(decorator):
    if not isinstance(decorator, ast.Call):
        return []
    if ast.unparse(decorator.func) != "pytest.mark.fault":
        return []
    return [ast.literal_eval(argument) for argument in decorator.args]


@pytest.fixture(scope="module")
def tests():
    return {
        f"{path.name}::{name}": rows
        for path in sorted(HERE.glob("test_faults_*.py"))
        for name, rows in marked(path.read_text(encoding="utf-8")).items()
    }


def test_the_table_has_its_sixty_rows():
    assert list(FAULTS) == list(range(1, 61))
    assert all(fault and behaviour for fault, behaviour in FAULTS.values())


def test_every_test_of_this_folder_names_rows_of_the_table(tests):
    assert {
        name: rows for name, rows in tests.items() if not set(rows) & set(FAULTS)
    } == {}
    assert {row for rows in tests.values() for row in rows} <= set(FAULTS)


@pytest.mark.parametrize("row", FAULTS)
def test_a_row_has_a_test_or_a_reason(row, tests):
    covered = any(row in rows for rows in tests.values())
    assert covered or REASONS.get(row), f"row {row}: {FAULTS[row].fault}"


def test_reasons_are_few():
    assert set(REASONS) <= {37, 45, 49, 50, 56}


def functions_of(file):
    """Return the names of the tests in a file, below the folder of all tests."""
    tree = ast.parse((HERE.parent / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions)}


@pytest.mark.parametrize("row", OF_MAGICS)
def test_a_row_of_a_magic_has_tests_that_there_are(row):
    fault = OF_MAGICS[row]
    assert fault.fault
    assert fault.behaviour
    assert fault.tests
    for name in fault.tests:
        file, _, test = name.partition("::")
        assert test.startswith("test_")
        assert test in functions_of(file), f"row {row} ({fault.fault}): no {name}"


def test_every_test_of_faults_of_pickle_cost_is_of_some_row():
    file = "experiments/test_pickle_cost_faults.py"
    named = {name for fault in OF_PICKLE_COST.values() for name in fault.tests}
    there = {name for name in functions_of(file) if name.startswith("test_")}
    assert {f"{file}::{name}" for name in there} <= named


def test_marks_are_found_by_their_text():
    text = (
        "@pytest.mark.fault(3, 4)\n@other\ndef test_a(): pass\n"
        "@pytest.mark.slow\ndef test_b(): pass\n"
        "@pytest.mark.fault(5)\ndef helper(): pass\n"
    )
    assert marked(text) == {"test_a": [3, 4], "test_b": []}
