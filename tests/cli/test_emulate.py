from __future__ import annotations

import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import aiohttp
import pytest

from .command import ESCAPE, TRUNKLINE, Running, environment, in_pipe, in_terminal, trunkline


def announced(server: Running) -> dict[str, str]:
    """The environment that the server prints."""
    text = server.wait_for("export OPENAI_API_KEY=") + server.wait_for("\n")
    return environment(**dict(re.findall(r"export (\w+)='?([^'\s]+)", text)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_logs_each_request_and_ends_cleanly(number: signal.Signals) -> None:
    with in_pipe("emulate", "--port", "0") as server:
        env = announced(server)
        assert trunkline("chat", "-p", "Hi there", env=env).stdout == "You said: Hi there\n"
        line = server.wait_for("\n")
        assert re.fullmatch(
            r"\d\d:\d\d:\d\d socket 1 default lane response.create gpt-6-astra \d+ B 1 item -> resp_\w+\n",
            line,
        )
        server.process.send_signal(number)
        assert server.end() == 0
    assert "Traceback" not in server.seen
    assert ESCAPE not in server.seen


def test_the_log_shows_what_is_continued_and_what_is_refused() -> None:
    with in_pipe("emulate", "--port", "0") as server:
        env = announced(server)
        trunkline("chat", stdin="one\ntwo\n", env=env)
        first = server.wait_for("\n").split()[-1]
        assert f"1 item after {first} -> resp_" in server.wait_for("\n")
        trunkline("chat", "-p", "Hi", "--model", "refuse-400-bad_thing", env=env)
        assert server.wait_for("\n").endswith("-> 400 bad_thing\n")


async def test_a_refused_steer_is_logged_and_its_socket_stays_open() -> None:
    with in_pipe("emulate", "--port", "0") as server:
        env = announced(server)
        headers = {"Authorization": f"Bearer {env['OPENAI_API_KEY']}"}
        url = f"{env['OPENAI_BASE_URL']}/responses"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as socket:
            await socket.send_json(
                {"type": "response.steer", "previous_response_id": "resp_x", "input": "Hi"}
            )
            refused = await socket.receive_json(timeout=10)
            assert refused["type"] == "response.steer.failed"
            assert server.wait_for("\n").endswith(" 1 item after resp_x -> response_not_found\n")
            await socket.send_json({"type": "response.create", "model": "echo", "input": "Hi"})
            created = await socket.receive_json(timeout=10)
            assert created["type"] == "response.created"
    assert "Traceback" not in server.seen


def test_http_is_logged_as_such() -> None:
    with in_pipe("emulate", "--port", "0", "--api-key", "my key") as server:
        text = server.wait_for("export OPENAI_API_KEY='my key'\n")
        base_url = text.split("OPENAI_BASE_URL=")[1].split()[0]
        request = urllib.request.Request(
            f"{base_url}/responses",
            data=b'{"model":"echo","input":"hello"}',
            headers={"Authorization": "Bearer my key", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert b"hello" in answer.read()
        assert " http response.create echo 32 B 1 item -> resp_" in server.wait_for("\n")


def test_the_key_is_asked_for_and_the_pace_and_retention_are_obeyed() -> None:
    options = ("--zdr", "--latency", "0.2", "--tokens-per-second", "500")
    with in_pipe("emulate", "--port", "0", "--api-key", "sk-mine", *options) as server:
        env = announced(server)
        assert env["OPENAI_API_KEY"] == "sk-mine"
        done = trunkline("chat", "-p", "Hi", env={**env, "OPENAI_API_KEY": "wrong"})
        assert done.returncode == 1
        assert "Incorrect API key" in done.stderr
        assert trunkline("chat", "-p", "Hi", env=env).returncode == 0


def test_a_model_stands_behind_every_name() -> None:
    with in_pipe("emulate", "--port", "0", "--model", "words-3") as server:
        assert trunkline("chat", "-p", "Hi", env=announced(server)).stdout == "the quick brown\n"


def test_faults_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("- action: reject\n  status: 400\n  code: planted\n")
    with in_pipe("emulate", "--port", "0", "--faults", str(file)) as server:
        done = trunkline("chat", "-p", "Hi", env=announced(server))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("trunkline: the service refused the request")


def test_refused_keys_and_urls_are_logged() -> None:
    with in_pipe("emulate", "--port", "0") as server:
        env = announced(server)
        for path, key in (("/models?key=sk-wrong", "sk-wrong"), ("/nothing", env["OPENAI_API_KEY"])):
            headers = {"Authorization": f"Bearer {key}"}
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(urllib.request.Request(env["OPENAI_BASE_URL"] + path, headers=headers))
        assert " http GET /v1/models 0 B 0 items -> 401 invalid_api_key\n" in server.wait_for("\n")
        assert " http GET /v1/nothing 0 B 0 items -> 404 Invalid URL (GET" in server.wait_for("\n")
    assert "sk-wrong" not in server.seen
    assert "refused" not in server.seen


def test_a_page_of_an_allowed_origin_may_use_it() -> None:
    origin = "http://localhost:3000"
    with in_pipe("emulate", "--port", "0", "--allow-origin", origin) as server:
        env = announced(server)
        headers = {"Authorization": f"Bearer {env['OPENAI_API_KEY']}", "Origin": origin}
        request = urllib.request.Request(f"{env['OPENAI_BASE_URL']}/models", headers=headers)
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert trunkline("emulate", "--port", "0", "--allow-origin", "localhost").returncode == 1


def test_it_deviates_as_other_servers_do() -> None:
    with in_pipe("emulate", "--port", "0", "--quirk", "codex", "--quirk", "ollama") as server:
        env = announced(server)
        request = urllib.request.Request(
            f"{env['OPENAI_BASE_URL']}/responses",
            data=b'{"model":"echo","input":"hello","previous_response_id":"resp_of_another_server"}',
            headers={"Authorization": f"Bearer {env['OPENAI_API_KEY']}"},
        )
        with urllib.request.urlopen(request) as answer:
            assert b'"previous_response_id": null' in answer.read()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--quirk", "grok"), "unknown quirk 'grok'; use one of vllm, "),
        (("--quirk", "ollama", "--quirk", "xai"), "the quirks 'ollama' (has no WebSocket: "),
    ],
)
def test_a_wrong_quirk_is_one_sentence(options: tuple[str, ...], problem: str) -> None:
    done = trunkline("emulate", "--port", "0", *options)
    assert done.returncode == 1
    assert done.stderr.startswith(f"trunkline: {problem}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", ["nonsense", "[", "- action: dance", None])
def test_a_file_without_faults_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "faults.yaml"
    if content is not None:
        file.write_text(content)
    done = trunkline("emulate", "--port", "0", "--faults", str(file))
    assert done.returncode == 1
    assert done.stderr.startswith(f"trunkline: {file} is not a valid fault file: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_taken_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = trunkline("emulate", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"trunkline: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_control_c_in_a_terminal_ends_it_cleanly() -> None:
    with in_terminal("emulate", "--port", "0") as server:
        server.wait_for("export OPENAI_API_KEY=")
        server.type("\x03")
        assert server.end() == 0
    assert "Traceback" not in server.seen


def test_who_listens_to_other_machines_is_warned() -> None:
    with in_pipe("emulate", "--port", "0", "--host", "0.0.0.0") as server:
        server.wait_for("warning: other machines can reach this server; --host 127.0.0.1 prevents it\n")


def test_a_program_is_run_with_the_emulator_in_its_environment() -> None:
    done = trunkline("emulate", "--api-key", "sk-mine", TRUNKLINE, "chat", "-p", "Hi there")
    assert done.stdout == "You said: Hi there\n"
    first = done.stderr.splitlines()[0]
    assert re.fullmatch(r"The emulator answers; live page: http://127\.0\.0\.1:\d+/#key=sk-mine", first)


def test_a_program_keeps_the_keyboard_and_its_exit_code() -> None:
    program = "import sys; print(sys.argv[1:], input()); sys.exit(7)"
    done = trunkline("emulate", "--", sys.executable, "-c", program, "--port", "1", stdin="typed\n")
    assert done.stdout == "['--port', '1'] typed\n"
    assert done.returncode == 7


def test_two_programs_have_an_emulator_each() -> None:
    program = "import os; print(os.environ['OPENAI_BASE_URL'], flush=True); input()"
    urls = []
    with in_terminal("emulate", sys.executable, "-c", program) as first:
        urls += re.findall(r"http://127\.0\.0\.1:\d+/v1", first.wait_for("/v1"))
        done = trunkline("emulate", sys.executable, "-c", program, stdin="\n")
        urls.append(done.stdout.strip())
    assert len(set(urls)) == 2


def test_a_program_in_a_terminal_decides_about_control_c() -> None:
    program = (
        "import time\n"
        "try:\n    print('running', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('interrupted', flush=True); raise SystemExit(5)\n"
    )
    with in_terminal("emulate", sys.executable, "-c", program) as running:
        running.wait_for("running")
        running.type("\x03")
        running.wait_for("interrupted")
        assert running.end() == 5
    assert "Traceback" not in running.seen


def test_a_program_gets_sigterm_and_its_signal_is_in_the_exit_code() -> None:
    program = "import time; print('running', flush=True); time.sleep(60)"
    with in_pipe("emulate", sys.executable, "-c", program) as running:
        running.wait_for("running")
        running.process.terminate()
        assert running.end() == 128 + signal.SIGTERM


def test_a_program_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    missing = trunkline("emulate", str(tmp_path / "missing"))
    assert missing.returncode == 127
    assert missing.stderr.splitlines()[-1] == (
        f"trunkline: cannot run {tmp_path / 'missing'}: No such file or directory"
    )
    (tmp_path / "text").write_text("no program")
    assert trunkline("emulate", str(tmp_path / "text")).returncode == 126
