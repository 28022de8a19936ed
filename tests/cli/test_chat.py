from __future__ import annotations

import re
import time

import pytest

from trunkline.emulator import Emulator

from .command import ESCAPE, TIMEOUT_S, Running, environment, in_terminal, trunkline

CTRL_C, CTRL_D = "\x03", "\x04"
LONG = " ".join(f"word{number}" for number in range(200))


def at(emulator: Emulator, **given: str) -> dict[str, str]:
    return environment(
        OPENAI_BASE_URL=emulator.base_url, OPENAI_API_KEY=emulator.api_key or "", TERM="dumb", **given
    )


def ask(terminal: Running, text: str) -> None:
    terminal.wait_for("you> ")
    terminal.type(f"{text}\n")


def interrupt_prompt(terminal: Running) -> None:
    """Press Ctrl-C at the prompt, then another key.

    Just after showing the prompt, Python's line editor handles Ctrl-C only with the next key.
    """
    terminal.wait_for("you> ")
    terminal.type(f"{CTRL_C}\n")


def texts(emulator: Emulator, number: int) -> list[tuple[str, str]]:
    """Role and text of the items in the model's context for its n-th response."""
    seen = list(emulator.responses.values())[number].effective_context
    return [
        (item["role"], item["content"][0]["text"] if isinstance(item["content"], list) else item["content"])
        for item in seen
    ]


def test_without_a_key_the_emulator_answers_and_that_is_said() -> None:
    done = trunkline("chat", "--prompt", "Hello there")
    assert (done.stdout, done.returncode) == ("You said: Hello there\n", 0)
    assert "OPENAI_API_KEY is not set" in done.stderr
    assert "emulator" in done.stderr
    assert ESCAPE not in done.stdout + done.stderr


def test_with_a_key_the_service_is_asked_and_named(emulator: Emulator) -> None:
    done = trunkline("chat", "-p", "Hi", "--model", "echo", "--instructions", "Be brief.", env=at(emulator))
    assert (done.stdout, done.returncode) == ("Hi\n", 0)
    assert emulator.base_url in done.stderr
    record = next(iter(emulator.responses.values()))
    assert (record.model, record.instructions) == ("echo", "Be brief.")


def test_the_option_goes_before_the_environment(emulator: Emulator) -> None:
    env = environment(OPENAI_BASE_URL="http://127.0.0.1:1/v1", OPENAI_API_KEY=emulator.api_key or "")
    assert trunkline("chat", "-p", "Hi", "--base-url", emulator.base_url, env=env).returncode == 0


def test_lines_of_a_pipe_are_turns_of_one_conversation(emulator: Emulator) -> None:
    done = trunkline("chat", stdin="one\n\ntwo\n", env=at(emulator))
    assert (done.stdout, done.returncode) == ("You said: one\nYou said: two\n", 0)
    assert texts(emulator, 1) == [("user", "one"), ("assistant", "You said: one"), ("user", "two")]


@pytest.mark.parametrize(
    ("arguments", "env", "sentence"),
    [
        ((), {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "api_key is missing"),
        (("--base-url", "nonsense"), {"OPENAI_API_KEY": "key"}, "has no scheme"),
        (("--base-url", "http://127.0.0.1:1/v1"), {"OPENAI_API_KEY": "key"}, "Connection refused"),
        (("--model", "refuse-400-bad_thing"), {}, "bad_thing"),
    ],
)
def test_an_error_is_one_sentence(arguments: tuple[str, ...], env: dict[str, str], sentence: str) -> None:
    done = trunkline("chat", "--prompt", "Hi", *arguments, env=environment(**env))
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("trunkline: ")
    assert sentence in last
    assert "Traceback" not in done.stderr


def test_an_incomplete_answer_says_so() -> None:
    done = trunkline("chat", "--prompt", "Hi", "--model", "fail-after-3-server_error")
    assert done.returncode == 1
    assert done.stdout.startswith("the quick brown")


def test_control_c_interrupts_the_answer_and_the_history_keeps_what_was_shown(emulator: Emulator) -> None:
    with in_terminal("chat", env=at(emulator)) as terminal:
        ask(terminal, LONG)
        terminal.wait_for("You said: word0 word1")
        terminal.type(CTRL_C)
        rest = terminal.wait_for("(interrupted)").removesuffix("(interrupted)")
        ask(terminal, "And now?")
        terminal.wait_for("You said: And now?")
        terminal.wait_for("you> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    shown = f"You said: word0 word1{rest}".replace("^C", "").rstrip()  # the terminal shows the key, too
    assert len(shown.split()) < len(LONG.split())
    assert texts(emulator, 1) == [("user", LONG), ("assistant", shown), ("user", "And now?")]


def test_a_second_control_c_leaves() -> None:
    with in_terminal("chat") as terminal:
        interrupt_prompt(terminal)
        terminal.wait_for("(Ctrl-C again exits)")
        interrupt_prompt(terminal)
        assert terminal.end() == 0
    assert "Traceback" not in terminal.seen


def test_a_control_c_after_an_interrupted_answer_leaves(emulator: Emulator) -> None:
    with in_terminal("chat", env=at(emulator)) as terminal:
        ask(terminal, LONG)
        terminal.wait_for("You said: word0")
        terminal.type(CTRL_C)
        started = time.monotonic()
        interrupt_prompt(terminal)
        assert terminal.end() == 0
    assert time.monotonic() - started < TIMEOUT_S / 3  # exit does not wait for the interrupted answer


def test_control_c_works_also_where_it_was_ignored_before_the_command_started(emulator: Emulator) -> None:
    with in_terminal("chat", env=at(emulator), ignores_sigint=True) as terminal:
        ask(terminal, LONG)
        terminal.wait_for("You said: word0")
        terminal.type(CTRL_C)
        terminal.wait_for("(interrupted)")
        interrupt_prompt(terminal)
        assert terminal.end() == 0


def test_an_error_does_not_end_the_conversation(emulator: Emulator) -> None:
    with in_terminal("chat", "--model", "refuse-400-bad_thing", env=at(emulator)) as terminal:
        ask(terminal, "Hi")
        terminal.wait_for("trunkline: the service refused")
        ask(terminal, "Hi again")
        terminal.wait_for("trunkline: the service refused")
        terminal.wait_for("you> ")
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_a_model_cannot_steer_the_terminal() -> None:
    done = trunkline("chat", "--prompt", "red \x1b[31m alarm \x07", "--model", "echo")
    assert done.stdout == "red [31m alarm \n"


def test_commands_are_not_sent(emulator: Emulator) -> None:
    with in_terminal("chat", env=at(emulator)) as terminal:
        terminal.wait_for("/help shows the commands.")
        ask(terminal, "/metrics")
        terminal.wait_for("No turn has been sent.")
        ask(terminal, "/help")
        listed = terminal.wait_for("one turn.")
        ask(terminal, "/nothing")
        terminal.wait_for("/nothing is not a command; /help shows them.")
        ask(terminal, "Hello")
        terminal.wait_for("You said: Hello")
        ask(terminal, "/metrics")
        shown = terminal.wait_for(" abandoned")
        ask(terminal, "/quit")
        assert terminal.end() == 0
    assert re.search(r"turn: +answered; first token \d+ ms; total \d+ ms; websocket; full, \d+ bytes", shown)
    assert re.search(r"client: 1 turns; 0 deltas; 1 in full; 1 dials", shown)
    assert all(command in listed for command in ("/help", "/metrics", "/quit"))
    assert len(emulator.responses) == 1


def test_a_text_that_begins_with_a_slash_is_sent(emulator: Emulator) -> None:
    with in_terminal("chat", env=at(emulator)) as terminal:
        ask(terminal, "/etc/passwd is a file")
        terminal.wait_for("You said: /etc/passwd is a file")
        ask(terminal, "/etc/passwd")
        terminal.wait_for("You said: /etc/passwd")
        ask(terminal, "/quit")
        assert terminal.end() == 0


def test_the_time_to_first_token_is_shown(emulator: Emulator) -> None:
    with in_terminal("chat", env=at(emulator)) as terminal:
        ask(terminal, "Hello")
        shown = terminal.wait_for(" ms)")
    found = re.search(r"You said: Hello\s+\(first token after (\d+) ms\)", shown)
    assert found is not None
    assert int(found[1]) >= 50


PARAGRAPHS = "First paragraph.\n\nSecond one,\nof two lines."


@pytest.mark.parametrize(
    ("term", "is_bracketed"), [("dumb", False), ("xterm-256color", False), ("xterm-256color", True)]
)
def test_pasted_paragraphs_are_one_turn(emulator: Emulator, term: str, is_bracketed: bool) -> None:
    env = {**at(emulator), "TERM": term}
    with in_terminal("chat", env=env) as terminal:
        terminal.wait_for("you> ")
        terminal.type(f"{ESCAPE}[200~{PARAGRAPHS}{ESCAPE}[201~\n" if is_bracketed else f"{PARAGRAPHS}\n")
        terminal.wait_for("first token after")
        ask(terminal, "/quit")
        assert terminal.end() == 0
    assert texts(emulator, 0) == [("user", PARAGRAPHS)]


def test_a_command_after_a_line_that_was_typed_ahead_is_obeyed(emulator: Emulator) -> None:
    with in_terminal("chat", env=at(emulator)) as terminal:
        terminal.wait_for("you> ")
        terminal.type("Hello\n/quit\n")
        assert terminal.end() == 0
    assert texts(emulator, 0) == [("user", "Hello")]


def test_slow_answers_show_that_they_are_awaited() -> None:
    emulator = Emulator()
    with emulator.run_in_thread():
        held = emulator.faults.hold()
        with in_terminal("chat", env=at(emulator)) as terminal:
            ask(terminal, "Hello")
            terminal.wait_for("(waiting for the first token; Ctrl-C interrupts)")
            held.open()
            terminal.wait_for("You said: Hello")


def test_the_built_in_tools_are_called_and_shown() -> None:
    done = trunkline("chat", "--tools", "--prompt", "calculate 6*7")
    assert done.returncode == 0
    assert "(calls calculate" in done.stderr
    assert "calculate says" in done.stdout
