"""The page of features: what it names exists, what shows it is run, and nothing is left out."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from django.contrib import admin
from django.core.management import get_commands
from django.urls import URLPattern, get_resolver, resolve

from sse_app.conf import Settings

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/features.md").read_text()
FEATURES = {str(number) for number in range(1, 159)}
DEFECTS = {f"D{number}" for number in range(1, 16)}

# Asked of pytest in a process of its own: which tests there are, and which marks they have.
COLLECT = """
import json, sys, pytest

class Tests:
    def pytest_collection_finish(self, session):
        found = {}
        for item in session.items:
            marks = found.setdefault(item.nodeid.partition("[")[0], set())
            marks |= {mark.name for mark in item.iter_markers()}
        print("\\n" + json.dumps({name: sorted(marks) for name, marks in found.items()}))

sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[Tests()]))
"""


@dataclass(frozen=True)
class Line:
    """One line of a table."""

    heading: str
    numbers: tuple[str, ...]
    what: str
    where: str
    shown_by: str

    @property
    def is_missing(self):
        return self.heading == "Not there yet"

    @property
    def is_defect(self):
        return any(number.startswith("D") for number in self.numbers)

    @property
    def names(self):
        return [] if self.is_defect else re.findall("`([^`]+)`", self.where)

    @property
    def tests(self):
        return [] if self.is_missing else re.findall("`([^`]+)`", self.shown_by)


def lines():
    heading = ""
    for text in PAGE.splitlines():
        heading = text.removeprefix("## ") if text.startswith("## ") else heading
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if text.startswith("|") and cells[0] != "no." and set(cells[0]) != {"-"}:
            assert len(cells) == 4, text
            yield Line(heading, tuple(filter(None, cells[0].split(", "))), *cells[1:])


LINES = list(lines())
each_line = pytest.mark.parametrize("line", LINES, ids=lambda line: "+".join(line.numbers) or line.what)


def addresses(patterns, before="/"):
    """Give every address of the project, those of the admin as one."""
    for pattern in patterns:
        address = before + without_converters(pattern)
        if isinstance(pattern, URLPattern) or pattern.namespace == admin.site.name:
            yield address
        else:
            yield from addresses(pattern.url_patterns, address)


def websockets():
    """Give every address at which a WebSocket is served."""
    from project.routing import websocket_urlpatterns

    return set(sockets(websocket_urlpatterns))


def sockets(patterns, before="/"):
    for pattern in patterns:
        address = before + without_converters(pattern)
        inner = getattr(pattern.callback, "routes", None)
        if inner is not None:
            yield from sockets(inner, address)
        elif str(pattern.pattern):  # the empty one answers for all that do not exist
            yield address


def without_converters(pattern):
    return re.sub(r"<\w+:(\w+)>", r"<\1>", str(pattern.pattern))


def is_address(name):
    """Whether an address is that of a view, by the rules by which Django finds it."""
    found = resolve(re.sub("<[^>]+>", "x", name))
    route = "/" + re.sub(r"<\w+:(\w+)>", r"<\1>", found.route)
    return route == name or (found.app_name == "admin" and name == "/admin/")


def find(dotted):
    """Import what a dotted name stands for."""
    module, attributes = dotted, []
    while True:
        try:
            found = import_module(module)
            break
        except ModuleNotFoundError as error:
            if error.name != module or "." not in module:
                raise
            module, _, attribute = module.rpartition(".")
            attributes.insert(0, attribute)
    for attribute in attributes:
        found = getattr(found, attribute)
    return found


def exists(name):
    """Whether there is what a line names; raises where it is of no known kind."""
    kind, _, rest = name.partition(" ")
    if kind in ("GET", "POST"):
        return is_address(rest)
    if kind == "WS":
        return rest in websockets()
    if kind == "manage.py":
        return rest in get_commands()
    if name.startswith("SSE_"):
        return isinstance(getattr(Settings, name, None), property)
    if name.startswith("sse_app."):
        return find(name) is not None
    return (ROOT / name).is_file()


@cache
def collected():
    """Give the marks of every test that pytest finds in the files that the page names."""
    files = sorted({test.partition("::")[0] for line in LINES for test in line.tests})
    there = [file for file in files if (ROOT / file).is_file()]
    done = subprocess.run([sys.executable, "-c", COLLECT, *there], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


@each_line
def test_what_a_line_names_exists(line):
    if not line.is_missing:
        assert line.names or line.is_defect or re.search(r"\]\(\S+\.md[)#]", line.where), "it names nothing"
        assert [name for name in line.names if not exists(name)] == []


@each_line
def test_the_tests_of_a_line_are_run(line):
    assert line.tests or line.is_missing, "no test shows it"
    assert [test for test in line.tests if test not in collected()] == []
    marked = {test: set(collected()[test]) & {"skip", "skipif", "xfail"} for test in line.tests}
    assert {test: marks for test, marks in marked.items() if marks} == {}


@pytest.mark.parametrize("line", [line for line in LINES if line.is_missing], ids=lambda line: line.what)
def test_what_is_missing_is_missing(line):
    for name in line.names:
        with pytest.raises((ModuleNotFoundError, AttributeError)):
            find(name)


def test_no_number_is_missing_or_comes_twice():
    numbers = [number for line in LINES for number in line.numbers]
    assert sorted(numbers) == sorted(FEATURES | DEFECTS)


def test_every_address_of_the_project_stands_on_a_line():
    named = {
        name.partition(" ")[2] for line in LINES for name in line.names if name.startswith(("GET", "POST"))
    }
    assert set(addresses(get_resolver().url_patterns)) == named


def test_every_websocket_stands_on_a_line():
    named = {name.removeprefix("WS ") for line in LINES for name in line.names if name.startswith("WS ")}
    assert websockets() == named


@pytest.mark.parametrize(
    "name", ["sse_app.nothing", "sse_app.streams.nothing", "SSE_NOTHING", "manage.py nothing", "nothing.yml"]
)
def test_a_name_that_does_not_exist_is_noticed(name):
    try:
        assert not exists(name)
    except (AttributeError, ModuleNotFoundError):
        return


def test_a_mark_is_noticed(tmp_path):
    (tmp_path / "test_marked.py").write_text(
        "import pytest\n@pytest.mark.skipif('1')\nclass TestIt:\n    def test_one(self): pass\n"
    )
    options = ["-c", "/dev/null", "-p", "no:django", "--rootdir", str(tmp_path)]
    command = [sys.executable, "-c", COLLECT, *options, "test_marked.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert '{"test_marked.py::TestIt::test_one": ["skipif"]}' in done.stdout
