"""The docs: the code in them is code, and the links in them lead somewhere."""

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# README.md is named and not searched for, so that it is missed where it is missing.
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))]

BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.M)


def text_of(page):
    return (ROOT / page).read_text()


def without_code(text):
    return BLOCK.sub("", text)


def anchor(heading):
    """Give the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_python_in_the_docs_compiles(page):
    for block in BLOCK.finditer(text_of(page)):
        if block["language"] in ("python", "py"):
            line = text_of(page)[: block.start()].count("\n") + 2
            compile(textwrap.dedent("\n" * (line - 1) + block["code"]), page, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_ends(page):
    fences = re.findall(r"^ *```.*$", text_of(page), re.M)
    assert len(fences) == 2 * len(BLOCK.findall(text_of(page)))


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page):
    for found in LINK.finditer(without_code(text_of(page))):
        target = found["target"] or found["image"]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert file.resolve().is_relative_to(ROOT), target
        if fragment:
            headings = HEADING.findall(without_code(file.read_text()))
            assert fragment in [anchor(heading) for heading in headings], target


@pytest.mark.parametrize("page", PAGES)
def test_a_page_begins_with_its_title(page):
    assert re.match(r"# \S", text_of(page))


def test_every_page_is_linked_from_the_readme():
    linked = {found["target"] for found in LINK.finditer(text_of("README.md"))}
    assert set(PAGES[1:]) <= linked


@pytest.mark.parametrize("page", PAGES)
def test_extras_that_a_page_installs_exist(page):
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    for line in re.findall(r"^.*pip install.*$", text_of(page), re.M):
        for names in re.findall(r"\[([\w,-]+)\]", line):
            assert set(names.split(",")) <= extras.keys(), line


def test_the_readme_installs_extras():
    assert re.search(r"pip install .*\[daphne\].*\[redis\]", text_of("README.md"))
