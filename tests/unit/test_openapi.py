"""The service, the OpenAPI document and the guide have the same routes, and name the same things."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import falcon
import pytest
from falcon import inspect, testing

from schemas.db.connections import engine_for
from serving.app import api_document, create_app
from serving.http import parameters
from serving.http.openapi import TAGS, as_yaml, public_path
from serving.policy import is_openadr

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESOURCES = ROOT / "serving" / "resources"
GUIDE = (DOCS / "backend-api.md").read_text()
DOCUMENT = api_document()
REGENERATE = (
    "docs/backend-api.yaml is not what the code says: run\n"
    "    .venv/bin/python -m serving openapi > docs/backend-api.yaml"
)
UNTOLD = {("GET", "/assets/{digest}/{asset}")}
"""What no person ever calls."""


@pytest.fixture(scope="module")
def app() -> falcon.App[falcon.Request, falcon.Response]:
    return create_app(engine_for("postgresql://nobody@/nothing", "tests"), lambda: datetime.now(UTC), [])


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation


def test_the_file_is_what_the_code_says() -> None:
    assert (DOCS / "backend-api.yaml").read_text() == as_yaml(DOCUMENT), REGENERATE


def test_what_is_served_is_the_same(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    response = testing.TestClient(app).simulate_get("/openapi.json")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json == DOCUMENT


def test_every_route_and_method_is_described(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    served = {
        (method.method, public_path(route.path))
        for route in inspect.inspect_routes(app)
        for method in route.methods
        if not (method.internal or is_openadr(route.path))
    }
    assert served == {(method, path) for method, path, _ in operations()}, (
        "a responder needs an @Operation, its resource a path in serving/app.py: see CONTRIBUTING.md, A route"
    )


def test_the_guide_lists_exactly_the_routes() -> None:
    table = GUIDE.partition("\n## ")[0]
    listed = re.findall(r"^\| \[`([A-Z]+) (/\S*)`\]\(", table, re.MULTILINE)
    assert sorted(listed) == sorted({(method, path) for method, path, _ in operations()} - UNTOLD)


@pytest.mark.parametrize(
    "name", sorted({each["name"] for each in DOCUMENT["components"]["parameters"].values()})
)
def test_the_guide_names_every_parameter(name: str) -> None:
    if name not in {"digest", "asset"}:
        assert name in GUIDE


@pytest.mark.parametrize("shape", sorted(DOCUMENT["components"]["schemas"]))
def test_the_guide_names_every_field(shape: str) -> None:
    fields = DOCUMENT["components"]["schemas"][shape].get("properties", {})
    assert [field for field in fields if not re.search(rf'[`"._]{field}[`"]', GUIDE)] == []


def test_operations_have_names_of_their_own_and_known_tags() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    assert {tag for _, _, operation in operations() for tag in operation["tags"]} <= TAGS.keys()


def test_what_negotiates_says_so(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    """Each route that responds 406 to an unknown media type is documented so."""
    client = testing.TestClient(app)
    for method, path, operation in operations():
        said = "406" in operation["responses"]
        if method == "GET" and path != "/api/stream":
            asked = re.sub(r"{\w+}", "x", path)
            status = client.simulate_get(asked, headers={"Accept": "image/x-nothing"}).status_code
            assert (status == 406) == said, path


def test_what_reads_a_parameter_says_so(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    """What refuses a parameter that cannot be, before it asks the database, has it described; none else."""
    client = testing.TestClient(app)
    checked = {
        each.name
        for each in vars(parameters).values()
        if isinstance(each, parameters.Parameter) and each.where == "query"
    }
    for method, path, operation in operations():
        if method != "GET":
            continue
        told = {_resolved(each)["name"] for each in operation.get("parameters", [])}
        for name in sorted(checked):
            asked = re.sub(r"{\w+}", "x", path)
            answer = client.simulate_get(asked, query_string=f"{name}=%00")
            is_read = answer.status_code == 400 and answer.json["detail"].startswith(f"{name} ")
            is_read = is_read and not answer.json["detail"].startswith(f"{name} is unknown; did you mean")
            assert is_read == (name in told), (path, name)


def test_every_id_in_a_path_is_a_parameter() -> None:
    for path, item in DOCUMENT["paths"].items():
        told = [_resolved(each)["name"] for each in item.get("parameters", [])]
        assert sorted(told) == sorted(re.findall(r"{(\w+)}", path)), (
            f"{path}: see PATH in serving/http/parameters.py"
        )


def test_every_reference_leads_somewhere() -> None:
    for reference in _references(DOCUMENT):
        assert _resolved({"$ref": reference})


def test_everything_that_can_be_referred_to_is() -> None:
    used = set(_references(DOCUMENT))
    defined = {
        f"#/components/{kind}/{name}"
        for kind, each in DOCUMENT["components"].items()
        if kind != "securitySchemes"  # which operations name, and do not refer to
        for name in each
    }
    assert defined - used <= {
        f"#/components/responses/{name}" for name in ("Conflict", "TooLarge", "UnsupportedMediaType")
    } | {"#/components/headers/Location"}


def test_shapes_have_no_room_for_more() -> None:
    """So that a field which is not described is noticed."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False, f"{name}: derive it from schemas.api.fields.Shape"


@pytest.mark.parametrize(("path", "links"), [("/docs", 4), ("/", 4)])
def test_pages_fetch_nothing_from_elsewhere(
    path: str, links: int, app: falcon.App[falcon.Request, falcon.Response]
) -> None:
    client = testing.TestClient(app)
    page = client.simulate_get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, falcon.MEDIA_HTML)
    linked = re.findall(r'(?:src|href)="(/assets/[^"]*)"', page.text)
    assert len(linked) == links
    assert "//" not in re.sub(r"<(pre|code)>.*?</\1>", "", page.text)
    for url in linked:
        asset = client.simulate_get(url)
        assert asset.status_code == 200
        assert "immutable" in asset.headers["cache-control"]
    assert "default-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/assets/0123456789abcdef/start.js", "/assets/x/../start.js"])
def test_other_files_are_not_served(path: str, app: falcon.App[falcon.Request, falcon.Response]) -> None:
    assert testing.TestClient(app).simulate_get(path).status_code == 404


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _resolved(value: dict[str, Any]) -> dict[str, Any]:
    found: Any = DOCUMENT
    for key in value["$ref"].removeprefix("#/").split("/"):
        found = found[key]
    return dict(found)


def test_headers_that_a_resource_reads_are_described() -> None:
    """The others, of caching and negotiation, are HTTP's own; the middleware reads them."""
    read = re.findall(r'get_header\("([^"]+)"', "".join(each.read_text() for each in RESOURCES.glob("*.py")))
    described = {
        parameter["name"]
        for _, _, operation in operations()
        for parameter in map(_resolved, operation.get("parameters", []))
        if parameter["in"] == "header"
    }
    assert set(read) == described - {"If-Match", "If-None-Match"} != set()


def test_every_array_says_what_it_holds() -> None:
    """Generators of clients leave out whatever has one that does not."""

    def arrays(value: Any) -> Iterator[dict[str, Any]]:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if isinstance(value, dict) and value.get("type") == "array":
            yield value
        for part in parts:
            yield from arrays(part)

    found = list(arrays(DOCUMENT))
    assert len(found) > 10
    assert [each for each in found if "items" not in each and "prefixItems" not in each] == []
