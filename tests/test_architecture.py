"""
The architecture's rules, read from the imports: layers, purity, who may know what, and sizes.

A module that is not in `LAYERS` fails: say where it belongs.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = {
    # L0 vocabulary
    "gateway.close_codes": 0,
    "gateway.entry": 0,
    "gateway.errors": 0,
    "gateway.filters": 0,
    "gateway.fields": 0,
    "gateway.frames": 0,
    "gateway.identity": 0,
    "gateway.wire": 0,
    # L1 pure logic
    "gateway.address_rules": 1,
    "gateway.addresses": 1,
    "gateway.admission": 1,
    "gateway.continuity": 1,
    "gateway.decoder": 1,
    "gateway.fanout": 1,
    "gateway.histogram": 1,
    "gateway.hub": 1,
    "gateway.limits": 1,
    "gateway.log": 1,
    "gateway.outcomes": 1,
    "gateway.policy": 1,
    "gateway.profiles": 1,
    "gateway.recalls": 1,
    "gateway.presence": 1,
    "gateway.receipts": 1,
    "gateway.revocations": 1,
    "gateway.session": 1,
    "gateway.socket": 1,
    "gateway.subscriber": 1,
    "gateway.throttle": 1,
    # L2 adapters
    "gateway.auth": 2,
    "gateway.handlers": 2,
    "gateway.metrics": 2,
    "gateway.service_manager": 2,
    "gateway.statistics": 2,
    "gateway.store": 2,
    "gateway.tls": 2,
    "gateway.tracing": 2,
    # L3 services
    "gateway.access": 3,
    "gateway.asyncapi": 3,
    "gateway.backfill": 3,
    "gateway.canary": 3,
    "gateway.chat": 3,
    "gateway.clients": 3,
    "gateway.commands": 3,
    "gateway.connection": 3,
    "gateway.consumer": 3,
    "gateway.explain": 3,
    "gateway.history": 3,
    "gateway.exposition": 3,
    "gateway.janitor": 3,
    "gateway.joining": 3,
    "gateway.members": 3,
    "gateway.orders": 3,
    "gateway.profile_loader": 3,
    "gateway.projector": 3,
    "gateway.plugin_loading": 3,
    "gateway.plugin_session": 3,
    "gateway.plugins": 3,
    "gateway.questions": 3,
    "gateway.presence_service": 3,
    "gateway.readiness": 3,
    "gateway.recovery": 3,
    "gateway.replies": 3,
    "gateway.reports": 3,
    "gateway.resume": 3,
    "gateway.services": 3,
    "gateway.template_keeper": 3,
    "gateway.user_limit": 3,
    # L4 listeners
    "gateway.entrance": 4,
    "gateway.core": 4,
    "gateway.handshake": 4,
    "gateway.http": 4,
    "gateway.listener": 4,
    "gateway.server": 4,
    "gateway.sweeper": 4,
    # L5 composition
    "gateway": 5,
    "gateway.__main__": 5,
    "gateway.api": 5,
    "gateway.app": 5,
    "gateway.cli": 5,
    "gateway.console_wiring": 5,
    "gateway.dev": 5,
    "gateway.embedded": 5,
    "gateway.http_wiring": 5,
    "gateway.logs": 5,
    "gateway.serve": 5,
    "gateway.settings": 5,
    "gateway.supervisor": 5,
    "gateway.terminal": 5,
    "gateway.version": 5,
    "gateway.wiring": 5,
}
"""Each module, or package of modules, and its layer."""

IMPURE = {
    *("asyncio", "concurrent", "multiprocessing", "selectors", "socket", "ssl", "subprocess", "threading"),
    *("datetime", "logging", "os", "pathlib", "random", "secrets", "structlog", "sys", "time", "uuid"),
    *("redis", "uvloop", "websockets"),
}
PURE_OF_PUBLISHER = {
    *("publisher.address", "publisher.cursor", "publisher.event", "publisher.json_text", "publisher.trace"),
}
READERS_OF_SETTINGS = {
    *(
        "api",
        "app",
        "cli",
        "console_wiring",
        "dev",
        "http_wiring",
        "serve",
        "settings",
        "supervisor",
        "terminal",
        "wiring",
    ),
}

MOST_LINES_OF_A_MODULE = 500
MOST_LINES_OF_A_FUNCTION = 60


# What there is


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    name_of(path): path for package in ("gateway", "publisher") for path in sorted(ROOT.glob(f"{package}/**/*.py"))
}
GATEWAY = [name for name in MODULES if name.partition(".")[0] == "gateway"]
PUBLISHER = [name for name in MODULES if name.partition(".")[0] == "publisher"]


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def nodes_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node but those in the body of `if TYPE_CHECKING`."""
    yield node
    for child in [*node.orelse] if is_for_type_checkers(node) else ast.iter_child_nodes(node):  # type: ignore[attr-defined]
        yield from nodes_at_run_time(child)


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return what a module imports at run time, inside functions too: modules, not the names in them."""
    found = set()
    for node in nodes_at_run_time(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            source = node.module or ""
            found |= {
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source for alias in node.names
            }
    return frozenset(found)


def own_imports_of(module: str) -> list[str]:
    return sorted(name for name in imports_of(module) if name in MODULES)


def layer_of(module: str) -> int | None:
    """Return the layer of a module, or of the nearest package that has one; the root package stands for itself."""
    if module in LAYERS:
        return LAYERS[module]
    package = module.rpartition(".")[0]
    return None if package in {"gateway", ""} else layer_of(package)


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(function) is None:
        return 0
    docstring = function.body[0]
    return (docstring.end_lineno or 0) - docstring.lineno + 1


# The rules


@pytest.mark.parametrize("module", GATEWAY)
def test_every_module_has_a_layer(module: str) -> None:
    assert layer_of(module) is not None


@pytest.mark.parametrize("module", list(LAYERS))
def test_every_name_in_the_table_is_a_module(module: str) -> None:
    assert module in MODULES


@pytest.mark.parametrize("module", GATEWAY)
def test_imports_point_down(module: str) -> None:
    layer = layer_of(module)
    assert layer is not None
    above = [name for name in own_imports_of(module) if name in GATEWAY and (layer_of(name) or 0) > layer]
    assert above == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path[path.index(module) :], module))
        if module not in done:
            for name in own_imports_of(module):
                visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", [name for name in GATEWAY if (layer_of(name) or 0) < 2])
def test_vocabulary_and_logic_are_pure(module: str) -> None:
    assert {name for name in imports_of(module) if name.partition(".")[0] in IMPURE} == set()


@pytest.mark.parametrize("module", [name for name in GATEWAY if (layer_of(name) or 0) < 2])
def test_vocabulary_and_logic_use_what_is_pure_of_the_publisher(module: str) -> None:
    assert {name for name in imports_of(module) if name.partition(".")[0] == "publisher"} <= PURE_OF_PUBLISHER


@pytest.mark.parametrize("module", GATEWAY)
def test_only_the_composition_reads_settings(module: str) -> None:
    reads = any(name.startswith("gateway.settings") for name in imports_of(module))
    assert not reads or module.removeprefix("gateway.").partition(".")[0] in READERS_OF_SETTINGS


@pytest.mark.parametrize("module", PUBLISHER)
def test_the_publisher_imports_nothing_of_the_gateway(module: str) -> None:
    assert {name for name in imports_of(module) if name.partition(".")[0] == "gateway"} == set()


@pytest.mark.parametrize("module", PUBLISHER)
def test_the_publisher_needs_redis_and_orjson_only(module: str) -> None:
    packages = {name.partition(".")[0] for name in imports_of(module)}
    extra = {"jinja2"} if module == "publisher.sandbox" else set()  # which is imported by whoever renders a template
    assert packages - sys.stdlib_module_names <= {"publisher", "redis", "orjson"} | extra


@pytest.mark.parametrize("module", ["publisher", "publisher.sync", "publisher.templates", "publisher.__main__"])
def test_the_publisher_is_imported_without_what_it_does_not_need(module: str) -> None:
    unwanted = ("jinja2", "pydantic", "websockets", "structlog", "gateway")
    code = f"import {module}, sys; print(sorted(set(sys.modules) & set({unwanted!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("gateway.store")])
def test_only_the_store_and_the_publisher_know_the_names_of_keys(module: str) -> None:
    if module == "publisher.keys":
        return
    docstrings = {id(node.value) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Expr)}
    named = [
        node.value
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docstrings
    ]
    assert [text for text in map(str, named) if "tg:" in text or "gw:" in text] == []


def test_no_lua_script_makes_up_a_key() -> None:
    scripts = [*ROOT.glob("gateway/**/*.lua"), *ROOT.glob("publisher/**/*.lua")]
    assert scripts
    code = {path.name: [line.partition("--")[0] for line in path.read_text().splitlines()] for path in scripts}
    assert [name for name, lines in code.items() if any("tg:" in line for line in lines)] == []


# Sizes


@pytest.mark.parametrize("module", MODULES)
def test_module_fits_in_a_head(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_A_MODULE


@pytest.mark.parametrize("module", MODULES)
def test_function_fits_on_a_screen(module: str) -> None:
    functions = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    sizes = {node.name: (node.end_lineno or 0) - node.lineno + 1 - docstring_lines(node) for node in functions}
    assert {name: size for name, size in sizes.items() if size > MOST_LINES_OF_A_FUNCTION} == {}
