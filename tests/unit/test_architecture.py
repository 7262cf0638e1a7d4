"""The rooms of the house and the arrows between them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("kasparro_pipeline", "kasparro_api")
MAX_LINES = 350
DAGSTER = ("dagster", "dagster_postgres", "dagster_graphql", "dagster_webserver", "dagster_dg_cli")
DATABASE = ("psycopg", "psycopg_pool", "psycopg2", "sqlalchemy", "alembic")
NETWORK = ("requests", "urllib3", "http", "socket", "feedparser")


def modules(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        path = ROOT / room
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Full names of what a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name_of(path).split(".")
            if path.name != "__init__.py":
                package = package[:-1]
            if node.level:
                base = ".".join(
                    [*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]
                )
            else:
                base = node.module or ""
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def crossings(room: str, *forbidden: str) -> list[str]:
    """Imports of a room that it must not have."""
    return [
        f"{name_of(path)} imports {name}"
        for path in modules(room)
        for name in sorted(imports(path))
        for other in forbidden
        if name == other or name.startswith(f"{other}.")
    ]


def test_extraction_contract_and_warehouse_load_no_dagster() -> None:
    code = (
        "import sys, kasparro_pipeline.extract.rest, kasparro_pipeline.extract.feed,"
        " kasparro_pipeline.extract.csv_files, kasparro_pipeline.contract.validation,"
        " kasparro_pipeline.contract.contract_file, kasparro_pipeline.warehouse.unified, kasparro_api.app,"
        " kasparro_pipeline.scaffold.rest, kasparro_pipeline.scaffold.csv_file,"
        " kasparro_pipeline.scaffold.feed;"
        "print([name for name in sys.modules if name.split('.')[0].startswith('dagster')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_only_components_and_definitions_import_dagster() -> None:
    allowed = ("kasparro_pipeline.components", "kasparro_pipeline.definitions", "kasparro_pipeline.defs")
    found = [line for package in PACKAGES for line in crossings(package, *DAGSTER)]
    assert [line for line in found if not line.startswith(allowed)] == []


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("contract", (*DATABASE, *NETWORK)),
        ("contract", ("kasparro_pipeline.extract", "kasparro_pipeline.warehouse")),
        ("extract", DATABASE),
        ("extract", ("kasparro_pipeline.warehouse",)),
        ("warehouse", NETWORK),
        ("warehouse", ("kasparro_pipeline.extract.http", "kasparro_pipeline.extract.rest")),
        ("scaffold", DATABASE),
        ("scaffold", ("kasparro_pipeline.warehouse",)),
        ("stack", ("kasparro_pipeline.extract", "kasparro_pipeline.contract", "kasparro_pipeline.scaffold")),
    ],
)
def test_a_room_does_not_know_its_neighbours_business(room: str, forbidden: tuple[str, ...]) -> None:
    found = crossings(f"kasparro_pipeline/{room}", *forbidden)
    # the sandbox upstream of the stack serves HTTP; it is no extraction
    assert [line for line in found if ".sandbox" not in line] == []


@pytest.mark.parametrize("room", ["contract", "extract", "warehouse", "scaffold"])
def test_nothing_below_components_imports_upward(room: str) -> None:
    upward = [f"kasparro_pipeline.{name}" for name in ("components", "definitions", "defs", "stack")]
    assert crossings(f"kasparro_pipeline/{room}", *upward, "kasparro_api") == []


@pytest.mark.parametrize("room", ["contract", "extract", "warehouse"])
def test_a_source_runs_without_what_made_it(room: str) -> None:
    assert crossings(f"kasparro_pipeline/{room}", "kasparro_pipeline.scaffold") == []


@pytest.mark.parametrize(
    "room", ["components", "definitions", "contract", "extract", "warehouse", "scaffold"]
)
def test_the_stack_is_imported_by_none_of_the_others(room: str) -> None:
    assert crossings(f"kasparro_pipeline/{room}", "kasparro_pipeline.stack") == []


def test_the_stack_starts_the_code_location_and_does_not_import_it() -> None:
    assert (
        crossings("kasparro_pipeline/stack", "kasparro_pipeline.components", "kasparro_pipeline.definitions")
        == []
    )


def test_the_api_imports_the_warehouse_at_most() -> None:
    found = crossings("kasparro_api", "kasparro_pipeline")
    assert [line for line in found if " imports kasparro_pipeline.warehouse" not in line] == []


@pytest.mark.parametrize("path", [*modules(*PACKAGES)], ids=name_of)
def test_every_module_says_what_it_is_and_stays_small(path: Path) -> None:
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
    # a migration is a step of history, which is not taken apart afterwards
    assert len(text.splitlines()) <= MAX_LINES or "migrations" in path.parts
