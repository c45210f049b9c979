"""Packages of npm for the tests of pages, at fixed versions, in a folder of their own."""

import os
import shutil
import subprocess

import pytest

PACKAGES = {
    "htmx2": "npm:htmx.org@2.0.11",
    "htmx-ext-sse": "2.2.4",
    "htmx4": "npm:htmx.org@4.0.1",
    "axe-core": "4.14.1",
}


@pytest.fixture(scope="session")
def npm(tmp_path_factory):
    """The folder in which the packages are."""
    if shutil.which("npm") is None and not os.environ.get("CI"):
        pytest.skip("no npm on the PATH: pages are not tested with other projects' scripts")
    folder = tmp_path_factory.mktemp("npm")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--no-package-lock"]
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    done = subprocess.run(
        ["npm", "install", "--prefix", str(folder), *options, *wanted],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return folder / "node_modules"
