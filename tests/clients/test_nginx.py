"""A user interface without a login, behind nginx that adds the API key: deploy/nginx-ui.conf as it stands."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any

import pytest

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, answers, free_ports
from tests.faults.requirement import required_program
from tests.integration.published import until
from tests.integration.test_keys_program import administrate

pytestmark = pytest.mark.thorough  # programs are started, and ended

RECIPE = (REPOSITORY / "deploy" / "nginx-ui.conf").read_text()
NAME = "ui.example"
MAIN = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/recipe.conf;
}}
"""


@contextmanager
def running(port: int, *command: str, **settings: str) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=REPOSITORY, env=inherited_environment(**settings))
    try:
        until(lambda: answers(port), within_s=60)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def proxied(
    directory: Path,
    database_url: str,
    forwarded_host: str = "$http_host",
    key: str | None = None,
    **settings: str,
) -> Iterator[int]:
    """Serving behind nginx with the recipe; gives nginx' port. `{page}` in a setting is that port."""
    nginx = required_program("nginx", "nginx-light")
    page_port, api_port = free_ports(2)
    header = "" if key is None else f'proxy_set_header Authorization "Bearer {key}";'
    (directory / "key.conf").write_text(header)
    (directory / "index.html").write_text("<title>UI</title>")
    directory.chmod(0o755)
    replacements = {
        "8080": str(page_port),
        "server_name ui.example": f"server_name {NAME} localhost",
        "127.0.0.1:8000": f"{HOST}:{api_port}",
        "/usr/share/gridgate-ui": str(directory),
        "/etc/nginx/gridgate-key.conf": f"{directory}/key.conf",
        "Host $http_host;": f"Host {forwarded_host.format(api=api_port)};",
    }
    recipe = RECIPE
    for original, replacement in replacements.items():
        assert original in recipe
        recipe = recipe.replace(original, replacement)
    (directory / "recipe.conf").write_text(recipe)
    (directory / "nginx.conf").write_text(MAIN.format(directory=directory))
    environment = {name: text.format(page=page_port) for name, text in settings.items()}
    environment |= {"DATABASE_URL": database_url, "HTTP_PORT": str(api_port), "LOG_LEVEL": "error"}
    program = [nginx, "-p", str(directory), "-c", f"{directory}/nginx.conf", "-e", f"{directory}/error.log"]
    with running(api_port, sys.executable, "-m", "serving", **environment), running(page_port, *program):
        yield page_port


def ask(port: int, method: str, path: str, host: str, **headers: str) -> tuple[int, Any]:
    """The answer to a request of a browser with this page open."""
    all_headers = {"Host": host, "Content-Type": "application/json", **headers}
    body = json.dumps({"name": "House", "location": {"lat": 1, "lon": 2}}) if method == "POST" else None
    with closing(HTTPConnection(HOST, port, timeout=30)) as connection:
        connection.request(method, path, body, all_headers)
        response = connection.getresponse()
        content = response.read().decode()
    is_json = "json" in (response.headers["content-type"] or "")
    return response.status, json.loads(content) if is_json else content


def assert_reads_and_changes(port: int, host: str, origin: str, **headers: str) -> None:
    """Reads and changes work; changes by pages of other origins are refused."""
    assert ask(port, "GET", "/api/stats/network", host, **headers)[0] == 200
    status, created = ask(port, "POST", "/api/vens", host, Origin=origin, **headers)
    assert (status, created["name"]) == (201, "House")
    foreign = ("http://evil.example", f"http://evil.example:{port}", f"http://{host}.evil.example", "null")
    for other in foreign:
        assert ask(port, "POST", "/api/vens", host, Origin=other, **headers)[0] == 403, other


@pytest.fixture
def key(database_url: str) -> str:
    return administrate(database_url, "keys", "create", "ui", "--role", "operator").strip()


def test_the_recipe_adds_the_key(tmp_path: Path, database_url: str, key: str) -> None:
    trusted = {"HTTP_TRUSTED_PROXIES": HOST}
    with proxied(tmp_path, database_url, key=key, **trusted) as port:
        host = f"{NAME}:{port}"
        assert ask(port, "GET", "/", host) == (200, "<title>UI</title>")
        assert_reads_and_changes(port, host, f"http://{host}")
        assert ask(port, "GET", "/health", host) == (200, {"status": "ok"})
        with pytest.raises(RemoteDisconnected):  # a foreign name that was made to resolve to this address
            ask(port, "GET", "/api/vens", f"evil.example:{port}")
        with closing(HTTPConnection(HOST, port, timeout=20)) as stream:
            stream.request("GET", "/api/stream", headers={"Host": host})
            assert "event: network" in stream.getresponse().read1().decode()
    with proxied(tmp_path, database_url) as port:
        assert ask(port, "GET", "/api/vens", f"{NAME}:{port}")[0] == 401


def test_a_proxy_that_drops_the_port_of_the_host(tmp_path: Path, database_url: str, key: str) -> None:
    """`proxy_set_header Host $host`: every GET was accepted and every change refused.

    With the key from nginx it needs no setting; a user interface with a login does.
    """
    with proxied(tmp_path, database_url, "$host", key) as port:
        host = f"{NAME}:{port}"
        assert_reads_and_changes(port, host, f"http://{host}")
    for ports, status in (("3000, {page}", 201), ("3000", 403)):
        with proxied(tmp_path, database_url, "$host", HTTP_PAGE_PORTS=ports) as port:
            host = f"{NAME}:{port}"
            session = {"Cookie": log_in(port, host, key), "Origin": f"http://{host}"}
            assert ask(port, "GET", "/api/vens", host, Cookie=session["Cookie"])[0] == 200
            assert ask(port, "POST", "/api/vens", host, **session)[0] == status


def log_in(port: int, host: str, key: str) -> str:
    """The cookie of a new session."""
    headers = {"Host": host, "Authorization": f"Bearer {key}"}
    with closing(HTTPConnection(HOST, port, timeout=30)) as connection:
        connection.request("POST", "/api/session", headers=headers)
        response = connection.getresponse()
        return str(response.headers["set-cookie"]).partition(";")[0]


def test_a_development_server_that_changes_the_host(tmp_path: Path, database_url: str) -> None:
    """As vite with `changeOrigin`: Host is that of serving, Origin that of the page; without keys."""
    with proxied(tmp_path, database_url, f"{HOST}:{{api}}", HTTP_AUTH="off") as port:
        assert_reads_and_changes(port, f"localhost:{port}", f"http://localhost:{port}")
