"""Dashboard, analysis and documents have the same two words for the source of a power."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
[PAGE] = (ROOT / "serving" / "dashboard").glob("page.js")


def words() -> dict[str, str]:
    """Those of the dashboard."""
    return dict(re.findall(r'^export const (MEASURED|REPORTED) = "([^"]+)";', PAGE.read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", ["docs/backend-api.md", "docs/analysis.md"])
def test_documents_have_the_words_of_the_dashboard(path: str) -> None:
    text = (ROOT / path).read_text().lower()
    assert words().keys() == {"MEASURED", "REPORTED"}
    for word in words().values():
        assert re.search(rf"\b{word.lower()}\b", text), word


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("householdUsageKw", "MEASURED"),
        ("averageHousePower", "MEASURED"),
        ("totalHousePowerToday", "MEASURED"),
        ("controllablePowerKw", "REPORTED"),
        ("currentLoadReductionKw", "REPORTED"),
    ],
)
def test_each_figure_of_the_network_says_what_it_is(key: str, word: str) -> None:
    script = (PAGE.parent / "network.js").read_text()
    assert re.search(rf'\["[^"]+", {word}, \(now\) => \[number\(now\.{key}\)', script)
