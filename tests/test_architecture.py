"""The house: seven floors, imports that only go down, budgets, and a façade that loads no model."""

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

APP = Path(__file__).parent.parent / "sse_app"

# From the top. A folder is one unit; on a floor, what stands on the right may rest on its left.
FLOORS = {
    "wiring": ["apps", "urls", "routing", "__init__"],
    "doors": [
        "refusals",
        "queries",
        "views",
        "poll",
        "inbox_views",
        "consumers",
        "admin",
        "checks",
        "management",
        "templatetags",
    ],
    "verbs": [
        "publishing",
        "attendance",
        "subscription",
        "subscribing",
        "history",
        "export",
        "fragments",
        "notifications",
        "inbox",
    ],
    "seams": [
        "eventlog",
        "roster",
        "outbox",
        "relay",
        "local",
        "permissions",
        "snapshots",
        "responses",
        "negotiation",
        "websocket",
    ],
    "django": ["conf", "lease", "resuming", "body", "database", "models"],
    "flow": [
        "backoff",
        "cut",
        "hangup",
        "headers",
        "readpool",
        "pumps",
        "shapes",
        "streams",
        "jobs",
        "tail",
        "place",
        "reader",
        "hub",
        "snapshot",
    ],
    "values": [
        "payloads",
        "messages",
        "events",
        "positions",
        "start",
        "topics",
        "entries",
        "ring",
        "doorbell",
    ],
}
FOREIGN_TO = {"values": {"django", "channels", "asyncio"}, "flow": {"django", "channels"}}

MAX_MODULE_LINES = 250
MAX_FUNCTION_LINES = 40
# checks looks at the project's settings, models name the user model; all else asks conf.
READERS_OF_SETTINGS = {"conf", "checks", "models"}

FLOOR_OF = {unit: floor for floor, units in FLOORS.items() for unit in units}
FROM_THE_TOP = ["on no floor", *FLOORS]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported name: ``sse_app.eventlog.base.EventLog``, ``django.http.HttpRequest``, ``asyncio``."""

    name: str
    only_for_types: bool

    def is_of(self, package):
        return f"{self.name}.".startswith(f"{package}.")


@dataclass(frozen=True)
class Module:
    name: str  # "eventlog.base", "__init__"
    source: str

    @property
    def unit(self):
        return self.name.partition(".")[0]

    @property
    def floor(self):
        return FLOOR_OF.get(self.unit, "on no floor")

    @property
    def tree(self):
        return parsed(self.source)

    @property
    def functions(self):
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @property
    def imports(self):
        """Every import of the module, those of type checkers included."""
        for_types = {
            node
            for branch in ast.walk(self.tree)
            if isinstance(branch, ast.If) and ast.unparse(branch.test).endswith("TYPE_CHECKING")
            for statement in branch.body
            for node in ast.walk(statement)
        }
        return [
            Import(name, node in for_types) for node in ast.walk(self.tree) for name in imported_names(node)
        ]

    @property
    def inner(self):
        """The modules of the app that it imports."""
        return {
            owner(found.name.removeprefix("sse_app."))
            for found in self.imports
            if found.is_of("sse_app") and found.name != "sse_app"
        } | ({"__init__"} if any(found.name == "sse_app" for found in self.imports) else set())


@cache
def parsed(source):
    return ast.parse(source)


def imported_names(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def module_name(path):
    parts = path.relative_to(APP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {
    module_name(path): Module(module_name(path), path.read_text())
    for path in sorted(APP.rglob("*.py"))
    if "migrations" not in path.parts  # written by Django
}
each_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


def owner(name):
    """The module that a dotted name inside the app belongs to."""
    while name not in MODULES:
        name = name.rpartition(".")[0] or "__init__"
    return name


def reachable(name):
    """The modules that come along when one is imported."""
    seen, waiting = set(), [name]
    while waiting:
        new = MODULES[waiting.pop()].inner - seen
        seen |= new
        waiting += new
    return seen


def neighbours(module):
    """What a module imports from its own floor, its own folder left aside."""
    found = [MODULES[name] for name in module.inner]
    return {other.unit for other in found if other.floor == module.floor} - {module.unit}


def modules_on(floor):
    return [module for module in MODULES.values() if module.floor == floor]


def test_every_module_stands_on_one_floor():
    assert [module.name for module in modules_on("on no floor")] == []
    listed = [unit for units in FLOORS.values() for unit in units]
    assert sorted(listed) == sorted({module.unit for module in MODULES.values()})


@each_module
def test_imports_never_go_up(module):
    above = FROM_THE_TOP[: FROM_THE_TOP.index(module.floor)]
    assert {name for name in module.inner if MODULES[name].floor in above} == set()


@pytest.mark.parametrize("floor", FLOORS)
def test_on_a_floor_imports_only_go_to_the_left(floor):
    units = FLOORS[floor]
    for module in modules_on(floor):
        assert neighbours(module) <= set(units[: units.index(module.unit)]), module.name


def test_the_logs_rest_on_their_contract_alone():
    family = [module for module in MODULES.values() if module.unit == "eventlog"]
    assert len(family) > 2
    for module in family:
        inside = {name for name in module.inner if MODULES[name].unit == "eventlog"}
        assert inside <= {"eventlog.base", "eventlog.lua"} - {module.name}, module.name


def test_there_is_no_circle():
    graph = {name: module.inner for name, module in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@each_module
def test_no_import_hides_inside_a_function(module):
    hidden = [
        ast.unparse(node)
        for function in module.functions
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert hidden == []


@each_module
def test_only_the_user_s_types_are_imported_for_type_checkers_alone(module):
    found = [found.name for found in module.imports if found.only_for_types]
    assert [name for name in found if not Import(name, True).is_of("django.contrib.auth")] == []


@pytest.mark.parametrize("floor", FOREIGN_TO)
def test_the_lower_floors_do_not_know_django(floor):
    for module in modules_on(floor):
        foreign = {
            found.name
            for found in module.imports
            if any(found.is_of(package) for package in FOREIGN_TO[floor])
            if not (found.only_for_types and found.is_of("django.contrib.auth"))
        }
        assert foreign == set(), module.name


def test_responses_know_nothing_of_topics_and_their_logs():
    other_half = {"hub", "relay", "eventlog", "tail", "reader", "publishing", "subscribing"}
    assert {MODULES[name].unit for name in reachable("responses")} & other_half == set()


@pytest.mark.parametrize("verb", ["publishing", "subscribing"])
def test_publishing_and_subscribing_know_nothing_of_http(verb):
    for name in {verb, *reachable(verb)}:
        assert [found.name for found in MODULES[name].imports if found.is_of("django.http")] == [], name


@each_module
def test_settings_are_read_in_conf(module):
    read = any(found.is_of("django.conf.settings") or found.name == "django.conf" for found in module.imports)
    assert not read or module.name in READERS_OF_SETTINGS


def test_models_read_the_user_model_and_no_other_setting():
    read = [
        node.attr
        for node in ast.walk(MODULES["models"].tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "settings"
    ]
    assert set(read) == {"AUTH_USER_MODEL"}


@each_module
def test_a_module_fits_on_a_few_screens(module):
    assert len(module.source.splitlines()) <= MAX_MODULE_LINES


@each_module
def test_a_function_fits_on_one_screen(module):
    lengths = {function.name: function.end_lineno - function.lineno + 1 for function in module.functions}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def described(tree):
    """The module, its classes and its public functions and methods."""
    yield tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node
            yield from (
                child
                for child in node.body
                if isinstance(child, Function) and not child.name.startswith("_") and node.name[0] != "_"
            )
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield node


@each_module
def test_everything_public_says_what_it_is(module):
    silent = [
        getattr(node, "name", "the module")
        for node in described(module.tree)
        if not (ast.get_docstring(node) or "").strip()
    ]
    assert silent == []


def test_the_facade_can_be_imported_before_django_is_set_up():
    program = (
        "import sys; from sse_app import publish; import django.apps; "
        "assert not django.apps.apps.apps_ready; "
        "print([name for name in sys.modules if name in ('sse_app.models', 'django.contrib.auth.models')])"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=APP.parent,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr


@each_module
def test_no_module_takes_signals_or_ends_the_process(module):
    """How a process ends is its server's to say: a second way out would race with it."""
    assert not {one.name for one in module.imports if one.is_of("signal")}
    calls = [node.func for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    assert not {ast.unparse(call) for call in calls} & {"sys.exit", "os._exit", "exit", "quit", "os.kill"}
