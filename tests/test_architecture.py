"""House rules that a reader can trust: who may import whom, and what never occurs.

Everything is read from the syntax trees, so imports under TYPE_CHECKING and inside functions count.
Knows nothing of what the modules do.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("engine", "server")
MAX_LINES = 400

BASICS = {"errors", "types", "sampling_params", "config", "interface", "version"}
TEXT = {"text", "grammar"}
LAYERS: tuple[set[str], ...] = (
    BASICS,
    TEXT,
    {"scheduling"},
    {"native", "dependent_launch", "float8"},
    {"attention"},
    {"models", "sampling"},
    {"execution"},
    {"core"},
    {"worker"},
)
"""Rooms of the engine process. A room imports rooms left of it, never its neighbour in a layer;
only the basics know each other."""

WIRE = {"ipc"}
OUTSIDE_LAYERS: dict[str, set[str]] = {
    "ipc": BASICS,
    "process": BASICS | WIRE,
    "streams": BASICS | WIRE | TEXT,
    "client": BASICS | WIRE | TEXT | {"process", "streams"},
    "default_model": BASICS,
}
"""The torch-free side, and the embedded model's training, with what each may import."""

USES_THE_WIRE = {"core", "worker"}
TORCH_ROOMS = {
    "native",
    "dependent_launch",
    "float8",
    "attention",
    "models",
    "sampling",
    "execution",
    "core",
    "worker",
    "default_model",
}
TALKS_TO_A_TERMINAL = {"server/__main__.py", "engine/default_model/train.py"}
NEVER_IMPORTED = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "importlib"}
NEVER_CALLED = {"eval", "exec", "__import__"}
DRAWERS = {"utils", "util", "helpers", "common", "misc", "base", "shared"}
IMPORT_NAMES = {
    "prometheus-client": "prometheus_client",
    "pydantic-settings": "pydantic_settings",
    "pyzmq": "zmq",
}
"""Distributions whose import name is not their own."""
COME_ALONG = {"starlette", "pydantic_core", "triton"}
"""Imported beside the declared packages that bring them: fastapi, pydantic, torch for CUDA."""


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sources()}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_names(path: Path) -> Iterator[str]:
    """Dotted name of everything imported: `from a import b` gives `a.b`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def as_module(name: str) -> str:
    """The module of ours that holds a dotted name."""
    while name not in modules() and "." in name:
        name = name.rpartition(".")[0]
    return name


def imported_modules(path: Path) -> set[str]:
    """Our own modules that a file imports."""
    own = (name for name in imported_names(path) if name.partition(".")[0] in PACKAGES)
    return {as_module(name) for name in own} - {module_name(path)}


def room(module: str) -> str:
    """`engine.scheduling.plan` lies in room `scheduling`; the face itself in room ``."""
    return module.split(".")[1] if "." in module else ""


def allowed_rooms(name: str) -> set[str]:
    """Rooms that code in room `name` may import, its own included."""
    if name == "":
        return BASICS | {"client"}
    if name in OUTSIDE_LAYERS:
        return OUTSIDE_LAYERS[name] | {name}
    for index, layer in enumerate(LAYERS):
        if name in layer:
            left = set().union(*LAYERS[:index], BASICS if name in BASICS else set())
            return left | {name} | (WIRE if name in USES_THE_WIRE else set())
    raise AssertionError(f"engine/{name} has no place in the import order")


def engine_files() -> list[Path]:
    return [path for path in sources() if relative(path).startswith("engine/")]


def server_files() -> list[Path]:
    return [path for path in sources() if relative(path).startswith("server/")]


def test_engine_rooms_import_leftwards_only() -> None:
    wrong = [
        f"{relative(path)} imports {target}"
        for path in engine_files()
        for target in sorted(imported_modules(path))
        if room(target) not in allowed_rooms(room(module_name(path)))
    ]
    assert not wrong, "\n".join(wrong)


def test_engine_imports_nothing_of_the_server() -> None:
    wrong = [
        f"{relative(path)} imports {target}"
        for path in engine_files()
        for target in imported_modules(path)
        if target.startswith("server")
    ]
    assert not wrong, "\n".join(wrong)


def test_server_sees_only_the_engines_face() -> None:
    wrong = [
        f"{relative(path)} imports {name}"
        for path in server_files()
        for name in imported_names(path)
        if name.startswith("engine.") and as_module(name) != "engine"
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    graph = {name: imported_modules(path) for name, path in modules().items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_torch_free_rooms_never_name_torch() -> None:
    torch_free = [path for path in engine_files() if room(module_name(path)) not in TORCH_ROOMS]
    wrong = [
        f"{relative(path)} imports {name}"
        for path in [*torch_free, *server_files()]
        for name in imported_names(path)
        if name.partition(".")[0] in {"torch", "triton", "transformers"}
    ]
    assert not wrong, "\n".join(wrong)


def test_server_process_never_loads_torch() -> None:
    unwanted = {"torch", "transformers", "scipy", "llguidance"}
    assert not unwanted & loaded_by("server.__main__", "server.app", "engine.client")


def test_a_cpu_never_loads_triton() -> None:
    assert "triton" not in loaded_by("engine.worker", "engine.execution.build_cpu")


def loaded_by(*modules: str) -> set[str]:
    """Everything that a process has loaded after these imports."""
    code = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_nothing_unpickles_or_evaluates() -> None:
    wrong = [
        f"{relative(path)} imports {name}"
        for path in sources()
        for name in imported_names(path)
        if name.partition(".")[0] in NEVER_IMPORTED and not name.startswith("importlib.metadata")
    ]
    wrong += [where(path, call) for path, call in calls(NEVER_CALLED)]
    wrong += [
        where(path, call)
        for path, call in calls({"torch.load"})
        if "weights_only=True" not in ast.unparse(call)
    ]
    assert not wrong, "\n".join(wrong)


def test_only_programs_print() -> None:
    wrong = [
        where(path, call)
        for path, call in calls({"print"})
        if relative(path) not in TALKS_TO_A_TERMINAL
    ]
    assert not wrong, "\n".join(wrong)


def calls(names: set[str]) -> Iterator[tuple[Path, ast.Call]]:
    """Every call of one of these plain or dotted names."""
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
                yield path, node


def where(path: Path, node: ast.Call | ast.ExceptHandler) -> str:
    return f"{relative(path)}:{node.lineno} {ast.unparse(node).splitlines()[0]}"


def test_broad_except_only_to_clean_up_and_raise_again() -> None:
    wrong = [
        where(path, node)
        for path in sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type) and not passes_on(node)
    ]
    assert not wrong, "\n".join(wrong)


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether a handler ends by raising what it caught, as it is or as another error's cause."""
    last = handler.body[-1]
    if not isinstance(last, ast.Raise):
        return False
    return last.exc is None or (isinstance(last.cause, ast.Name) and last.cause.id == handler.name)


def is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(is_broad(part) for part in caught.elts)
    return caught is None or ast.unparse(caught) in {"Exception", "BaseException"}


def test_files_stay_short() -> None:
    lengths = {relative(path): path.read_bytes().count(b"\n") for path in sources()}
    assert {name: lines for name, lines in lengths.items() if lines >= MAX_LINES} == {}


def test_only_two_packages_at_the_top() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found == {*PACKAGES, "tests"}


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in sources()} | {
        path.parent for path in (ROOT / "tests").rglob("test_*.py")
    }
    assert not [relative(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_no_drawers() -> None:
    assert not [name for name in modules() if DRAWERS & set(name.split("."))]


def test_every_module_says_what_it_is() -> None:
    silent = [
        relative(path)
        for path in sources()
        if not path.name.startswith("__init__") and ast.get_docstring(tree(path)) is None
    ]
    assert not silent, "\n".join(silent)


def test_only_declared_dependencies_are_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[\[<>=!~ ]", line, maxsplit=1)[0] for line in project["dependencies"]}
    known = {IMPORT_NAMES.get(name, name) for name in declared} | {*PACKAGES} | COME_ALONG
    unknown = {
        f"{relative(path)} imports {name}"
        for path in sources()
        for name in imported_names(path)
        if name.partition(".")[0] not in known | sys.stdlib_module_names
    }
    assert not unknown, "\n".join(sorted(unknown))
