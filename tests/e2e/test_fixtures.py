"""`python -m local --fixtures`, and docs/fixtures.md: the page equals the service's responses."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.environment import REPOSITORY
from tests.e2e.stack import running_stack

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

PAGE = (REPOSITORY / "docs" / "fixtures.md").read_text()
EXAMPLE = re.compile(r"```console\n\$ curl '?([^\s']+)'?\n```\n\n```json\n(.*?)\n```", re.DOTALL)
EXAMPLES = {
    f"{url.path}?{url.query}".rstrip("?"): answer
    for url, answer in ((urlsplit(each[1]), each[2]) for each in EXAMPLE.finditer(PAGE))
}
RECEIPT = re.compile(r'("(?:createdAt|lastSeen)":\s*)"[^"…]+"')


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running_stack(tmp_path_factory.mktemp("fixtures"), "--fixtures") as ready:
        yield ready


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_page_says_what_the_service_answers(stack: dict[str, Any], path: str) -> None:
    assert _words(_answer(stack, path)) == _words(EXAMPLES[path])


def test_to_load_it_again_changes_nothing(stack: dict[str, Any]) -> None:
    before = {path: _answer(stack, path) for path in EXAMPLES}
    again = ["--mqtt-url", stack["mqtt_url"], "--http-url", stack["http_url"]]
    subprocess.run([sys.executable, "-m", "local.fixtures", *again], cwd=REPOSITORY, check=True, timeout=60)
    assert {path: _words(_answer(stack, path)) for path in EXAMPLES} == {
        path: _words(answer) for path, answer in before.items()
    }


def test_the_page_has_an_example_of_every_kind() -> None:
    assert len(EXAMPLES) == PAGE.count("$ curl ") > 15


def _answer(stack: dict[str, Any], path: str) -> str:
    try:
        with urllib.request.urlopen(f"{stack['http_url']}{path}", timeout=10) as response:  # noqa: S310
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def _words(answer: str) -> str:
    """Without the times of receipt, and white space; numbers and the order of keys as they are."""
    parsed = json.loads(RECEIPT.sub(r'\1"…"', answer), parse_float=str, parse_int=str)
    return json.dumps(parsed, indent=1, ensure_ascii=False)
