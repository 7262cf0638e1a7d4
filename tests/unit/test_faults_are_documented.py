"""The page of faults names a test for each, or says that there is none; the tests that it names exist."""

import ast
import re

from tests.conftest import PROJECT

PAGE = (PROJECT / "docs" / "faults.md").read_text("utf-8")
ROWS = {int(row[1]): row[2] for row in re.finditer(r"^\| (\d+) \|.*\|(.*)\|$", PAGE, re.MULTILINE)}
TESTS = {
    node.name
    for path in (PROJECT / "tests").rglob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
}


def test_every_fault_has_one_row() -> None:
    assert list(ROWS) == list(range(1, 64))
    assert len(re.findall(r"^\| \d+ \|", PAGE, re.MULTILINE)) == 63


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 63
    assert named - TESTS == set()


def test_a_row_names_a_test_or_says_that_there_is_none() -> None:
    silent = [number for number, tests in ROWS.items() if "`test_" not in tests and "not tested" not in tests]
    assert silent == []


def test_every_test_that_is_named_after_a_fault_is_on_the_page() -> None:
    after_faults = {name: re.match(r"test_fault_(\d+)_", name) for name in TESTS}
    missing = [
        name for name, fault in after_faults.items() if fault and f"`{name}`" not in ROWS[int(fault[1])]
    ]
    assert missing == []
