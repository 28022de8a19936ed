from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from trunkline.cli.doctor.findings import Verdict, advice_for, examine
from trunkline.emulator import Emulator
from trunkline.errors import (
    ConnectFailed,
    ResponseFailed,
    ResponseRefused,
    SlowConsumer,
    TrunklineError,
    UpgradeRefused,
)

from ..command import ESCAPE, environment, in_terminal, trunkline

KEY = "sk-secret-key-0123456789"
CHECKS = [
    "proxy",
    "name",
    "TCP",
    "TLS",
    "upgrade",
    "key",
    "lanes",
    "warm-up",
    "first token, WebSocket",
    "first token, HTTP",
]


class Report:
    """The command's output."""

    def __init__(self, output: str, errors: str, exit_code: int) -> None:
        self.output = output
        self.errors = errors
        self.exit_code = exit_code
        table, *self.advice = output.split("\n\n")
        self.rows: dict[str, str] = {}
        for line in table.splitlines()[1:]:
            name = next((check for check in CHECKS if line.startswith(f"{check} ")), None)
            if name is not None:
                self.rows[name] = line.removeprefix(name).strip()

    def verdicts(self, verdict: str) -> list[str]:
        """The names of the checks with this verdict."""
        return [name for name, row in self.rows.items() if row.split()[0] == verdict]


def doctor(*arguments: str, **env: str) -> Report:
    done = trunkline("doctor", *arguments, env=environment(**env))
    assert "Traceback" not in done.stderr
    return Report(done.stdout, done.stderr, done.returncode)


def examined(emulator: Emulator, *arguments: str, **env: str) -> Report:
    """The doctor's report of this emulator."""
    given = {"OPENAI_BASE_URL": emulator.base_url, "OPENAI_API_KEY": emulator.api_key or "", **env}
    return doctor(*arguments, **given)


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A reserved port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_the_embedded_emulator_passes_every_check() -> None:
    report = doctor("--emulator")
    assert report.exit_code == 0
    assert list(report.rows) == CHECKS
    assert report.verdicts("ok") == [name for name in CHECKS if name != "TLS"]
    assert report.output.endswith("\nAll checks passed.\n")
    assert ESCAPE not in report.output


def test_an_endpoint_is_taken_from_options_and_the_environment(emulator: Emulator) -> None:
    report = doctor("--base-url", emulator.base_url, "--api-key-env", "MINE", MINE=emulator.api_key or "")
    assert report.exit_code == 0
    assert f"at {emulator.base_url}/responses." in report.errors
    assert examined(emulator).exit_code == 0


def test_both_first_tokens_have_their_times(emulator: Emulator) -> None:
    report = examined(emulator)
    times = [int(report.rows[name].split()[1]) for name in CHECKS[-2:]]
    assert all(50 <= time < 5000 for time in times)
    assert "sent, the new items" in report.rows["first token, WebSocket"]
    assert "sent, the whole context" in report.rows["first token, HTTP"]


def test_it_looks_nice_in_a_terminal() -> None:
    with in_terminal("doctor", "--emulator") as running:
        running.wait_for("check")
        running.wait_for("All checks passed.")
        assert running.end() == 0
    assert "─" in running.seen


def test_a_wrong_key_is_said_and_never_shown(emulator: Emulator) -> None:
    report = examined(emulator, OPENAI_API_KEY=KEY)
    assert report.exit_code == 1
    assert report.verdicts("failed") == ["key"]
    assert report.verdicts("ok") == ["proxy", "name", "TCP"]
    assert report.advice[0].startswith("key: The service does not accept the key.")
    assert KEY not in report.output + report.errors


def test_a_service_that_quotes_the_key_does_not_make_us_show_it() -> None:
    emulator = Emulator(api_key=KEY)
    emulator.faults.add("reject", status=400, message=f"Who is {KEY}?", times=None)
    with emulator.run_in_thread():
        report = examined(emulator)
    assert report.exit_code == 1
    assert "Who is [the key]?" in report.output
    assert KEY not in report.output + report.errors


def test_without_a_key_the_way_is_checked_and_the_variable_named(emulator: Emulator) -> None:
    report = examined(emulator, OPENAI_API_KEY="")
    assert report.exit_code == 1
    assert report.verdicts("ok") == ["proxy", "name", "TCP"]
    assert "OPENAI_API_KEY is not set" in report.rows["key"]
    assert "--api-key-env NAME" in report.advice[0]
    assert emulator.handshakes == 0


@pytest.mark.parametrize(
    ("status", "advice"), [(426, "The endpoint does not accept WebSocket."), (503, "The service, or")]
)
def test_a_refused_upgrade_is_said_and_http_still_tried(emulator: Emulator, status: int, advice: str) -> None:
    emulator.faults.add("refuse_upgrade", status=status, times=None)
    report = examined(emulator)
    assert report.exit_code == 1
    assert report.verdicts("failed") == ["upgrade"]
    assert report.verdicts("skipped") == ["TLS", "key", "lanes", "warm-up", "first token, WebSocket"]
    assert f"HTTP status {status}" in report.rows["upgrade"]
    assert report.rows["first token, HTTP"].startswith("ok")
    assert report.advice[0].startswith(f"upgrade: {advice}")
    assert report.output.endswith("\nFailed: upgrade.\n")


def test_an_upgrade_that_is_not_answered_ends_in_time(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", times=None)
    report = examined(emulator, "--timeout-s", "0.5")
    assert report.exit_code == 1
    assert "no answer within 0.5 s" in report.rows["upgrade"]
    assert "--timeout-s" in report.advice[0]


def test_a_check_that_takes_long_is_announced_in_a_pipe_too(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", times=None)
    report = examined(emulator, "--timeout-s", "3")
    assert "TLS: skipped; the next check takes longer …" in report.errors


def test_an_endpoint_without_lanes_is_usable_and_that_is_said(emulator: Emulator) -> None:
    emulator.faults.add("omit", fields=("stream_id",), times=None)
    report = examined(emulator)
    assert report.exit_code == 0
    assert report.verdicts("warning") == ["lanes"]
    assert "events carry no stream_id" in report.rows["lanes"]
    assert "Client(lanes=False)" in report.advice[0]
    assert report.output.endswith("\nAll required checks passed.\n")


def test_a_model_that_is_not_known_is_said_once_for_both_ways(emulator: Emulator) -> None:
    report = examined(emulator, "--model", "refuse-404-model_not_found")
    assert report.exit_code == 1
    assert report.verdicts("failed") == ["first token, WebSocket"]
    assert report.verdicts("warning") == ["first token, HTTP"]
    assert report.advice[0].startswith("first token, WebSocket; first token, HTTP: The endpoint does not")


def test_a_socket_that_is_cut_is_a_failure(emulator: Emulator) -> None:
    emulator.faults.add("drop", event_type="response.output_item.added", transport="websocket", times=None)
    report = examined(emulator)
    assert report.exit_code == 1
    assert report.verdicts("failed") == ["first token, WebSocket"]
    assert report.advice[0].startswith("first token, WebSocket: A proxy, firewall or virus scanner")


def test_no_server_is_said(dead_port: int) -> None:
    report = doctor("--base-url", f"http://127.0.0.1:{dead_port}/v1", OPENAI_API_KEY=KEY)
    assert report.exit_code == 1
    assert report.verdicts("failed") == ["TCP"]
    assert "Connection refused" in report.rows["TCP"]
    assert report.rows["upgrade"].endswith("the server could not be reached")
    assert report.advice[0].startswith("TCP: Check the host and the port")


def test_a_name_that_is_none_is_said() -> None:
    report = doctor("--base-url", "http://a..b/v1", OPENAI_API_KEY=KEY)
    assert report.exit_code == 1
    assert report.verdicts("failed") == ["name"]
    assert "DNS" in report.advice[0]


def test_the_environments_proxy_is_named_without_its_password(emulator: Emulator, dead_port: int) -> None:
    report = examined(emulator, HTTP_PROXY=f"http://user:{KEY}@127.0.0.1:{dead_port}")
    assert report.exit_code == 1
    assert f"http://127.0.0.1:{dead_port}, from the environment" in report.rows["proxy"]
    assert report.verdicts("failed") == ["TCP"]
    assert KEY not in report.output + report.errors


def test_a_port_that_speaks_no_tls_is_said(emulator: Emulator) -> None:
    report = examined(emulator, OPENAI_BASE_URL=emulator.base_url.replace("http:", "https:"))
    assert report.exit_code == 1
    assert report.verdicts("failed") == ["TLS"]
    assert report.advice[0].startswith("TLS: Check that the port accepts TLS")


@contextlib.contextmanager
def speaking_tls(context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that completes the TLS handshake and closes."""

    def serve() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            with accepted, contextlib.suppress(OSError):
                context.wrap_socket(accepted, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # ends the wait in accept
        thread.join()


@pytest.mark.parametrize("is_trusted", [True, False])
def test_certificates_are_looked_at(tmp_path: Path, is_trusted: bool) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trust = {"SSL_CERT_FILE": str(tmp_path / "authority.pem")} if is_trusted else {}
    with speaking_tls(context) as port:
        report = doctor("--base-url", f"https://127.0.0.1:{port}/v1", OPENAI_API_KEY=KEY, **trust)
    assert report.exit_code == 1
    assert report.verdicts("failed") == (["upgrade"] if is_trusted else ["TLS"])
    if is_trusted:
        assert "TLSv1.3, certificate until" in report.rows["TLS"]
    else:
        assert "SSL_CERT_FILE" in report.advice[0]


def test_a_base_url_that_is_none_is_one_sentence() -> None:
    report = doctor("--base-url", "api.openai.com", OPENAI_API_KEY=KEY)
    assert (report.exit_code, report.output) == (1, "")
    assert report.errors.startswith("trunkline: base_url 'api.openai.com' has no scheme")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (UpgradeRefused(403, headers={}), "firewall"),
        (UpgradeRefused(429, headers={}), "quota"),
        (UpgradeRefused(404, headers={}), "does not accept WebSocket"),
        (UpgradeRefused(501, headers={}), "does not accept WebSocket"),
        (ResponseRefused("x", code="invalid_api_key"), "the key"),
        (ResponseRefused("x", code="insufficient_quota", status=429), "quota"),
        (ResponseRefused("x", status=400, param="model"), "--model"),
        (ResponseRefused("x", status=500), "status page"),
        (ResponseFailed("x", code="rate_limit_exceeded"), "quota"),
        (ConnectFailed("the TLS certificate of x is not trusted"), "SSL_CERT_FILE"),
        (ConnectFailed("no TLS connection to x"), "accepts TLS"),
        (ConnectFailed("the name 'x' could not be resolved"), "DNS"),
    ],
)
def test_there_is_advice_for_every_kind_of_failure(error: TrunklineError, word: str) -> None:
    assert word in advice_for(error)


def test_where_there_is_nothing_to_say_nothing_is_said() -> None:
    assert advice_for(SlowConsumer(1)) == advice_for(ResponseRefused("x", status=400)) == ""


async def test_a_check_that_is_not_needed_only_warns() -> None:
    async def check() -> None:
        raise ConnectFailed("broken")

    findings = [await examine("one", check, within_s=1, needed=needed) for needed in (True, False)]  # type: ignore[arg-type]
    assert [finding.verdict for finding in findings] == [Verdict.FAILED, Verdict.WARNING]


def test_json_has_the_checks_of_the_table(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=426, times=None)
    report = examined(emulator, "--json")
    told = json.loads(report.output)
    assert report.exit_code == 1
    assert (told["model"], told["passed"]) == ("gpt-6-astra", False)
    assert told["endpoint"] == f"{emulator.base_url}/responses"
    checks = {check["name"]: check for check in told["checks"]}
    assert list(checks) == CHECKS
    assert checks["upgrade"]["result"] == "failed"
    assert checks["upgrade"]["advice"].startswith("The endpoint does not accept WebSocket.")
    assert checks["TCP"] == {**checks["TCP"], "result": "ok", "advice": None}
    assert checks["TCP"]["seconds"] > 0
    assert (checks["lanes"]["result"], checks["lanes"]["seconds"]) == ("skipped", None)
    assert checks["lanes"]["found"] == "needs WebSocket"


def test_json_does_not_show_the_key() -> None:
    emulator = Emulator(api_key=KEY)
    emulator.faults.add("reject", status=400, message=f"Who is {KEY}?", times=None)
    with emulator.run_in_thread():
        report = examined(emulator, "--json")
    assert not json.loads(report.output)["passed"]
    assert "Who is [the key]?" in report.output
    assert KEY not in report.output + report.errors


def test_a_short_key_is_removed_as_a_word_and_kept_inside_other_words() -> None:
    emulator = Emulator(api_key="e")
    emulator.faults.add("reject", status=400, message="Where is 'e', the key e?", times=None)
    with emulator.run_in_thread():
        checks = json.loads(examined(emulator, "--json").output)["checks"]
    found = {check["name"]: check["found"] for check in checks}
    assert "Where is '[the key]', the key [the key]?" in found["first token, HTTP"]
    assert found["upgrade"] == "the server speaks WebSocket"
    assert found["proxy"] == "none"
