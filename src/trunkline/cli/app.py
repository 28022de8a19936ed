"""The commands and their options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..emulator import QUIRKS
from ..errors import TrunklineError
from . import chat as chatting
from . import demo as demonstration
from . import doctor as examination
from . import emulate as emulation
from . import serve as serving
from .terminal import error_console, output_console, tolerate_any_character

EXIT_INTERRUPTED = 130

app: typer.Typer = typer.Typer(
    name="trunkline",
    help="Many LLM conversations over few warm WebSockets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> None:
    """Run the command in ``sys.argv``. A `TrunklineError` is printed in one line, with exit code 1."""
    tolerate_any_character()
    try:
        app()
    except TrunklineError as error:
        error_console().out(f"trunkline: {error}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _show_version(wanted: bool) -> None:
    if wanted:
        output_console().out(f"trunkline {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo() -> None:
    """Run a scripted telephone call on the embedded emulator, and compare its times with HTTP."""
    sys.exit(demonstration.run(output_console()))


@app.command()
def chat(
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Send one prompt, print the answer and exit.")
    ] = None,
    model: Annotated[str, typer.Option(help="The model's name.")] = chatting.DEFAULT_MODEL,
    instructions: Annotated[str | None, typer.Option(help="Sent with each turn.")] = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="Such as https://api.openai.com/v1; by default OPENAI_BASE_URL.", metavar="URL"),
    ] = None,
    tools: Annotated[
        bool, typer.Option("--tools", help="Give the model two tools: current_time and calculate.")
    ] = False,
) -> None:
    """Chat with a model. Ctrl-C interrupts the answer; Ctrl-D, or a second Ctrl-C, exits.

    In a terminal, /help lists the commands, and pasted paragraphs are one turn. In a pipe, each line is one.
    The key is read from OPENAI_API_KEY. Without a key and a base URL the embedded emulator answers.
    """
    question = chatting.Question(prompt, model, instructions, base_url, has_tools=tools)
    sys.exit(chatting.run(question, output_console(), error_console()))


@app.command(context_settings={"allow_interspersed_args": False})
def emulate(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            help="A program to run with OPENAI_BASE_URL and OPENAI_API_KEY set. The emulator ends with it.",
            metavar="COMMAND",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The port; 0 selects a free one. By default 8765, and 0 with a COMMAND."
        ),
    ] = None,
    api_key: Annotated[str, typer.Option(help="The accepted API key.")] = "sk-emulator",
    zdr: Annotated[bool, typer.Option("--zdr", help="Zero data retention: no response is stored.")] = False,
    first_token_s: Annotated[
        float,
        typer.Option("--first-token-s", "--latency", min=0, help="Seconds to the first output."),
    ] = 0.0,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(min=0.001, help="Pace of further output; default: as fast as possible."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model for unknown names: tools, echo, words-N, reason, mixed …"),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="A YAML or JSON file of faults to apply.", metavar="FILE")
    ] = None,
    quirk: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Deviate as another server: {', '.join(QUIRKS)}. May be repeated.", metavar="NAME"
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Let web pages of this origin use the server. May be repeated.", metavar="ORIGIN"),
    ] = None,
) -> None:
    """Serve the Responses API with deterministic models, and log one line per request.

    With a COMMAND, no request is logged, and the exit code is that of the COMMAND.
    """
    settings = emulation.Settings(
        host,
        port,
        api_key,
        zdr,
        first_token_s,
        tokens_per_second,
        model=model,
        faults=faults,
        quirks=tuple(quirk or ()),
        allowed_origins=tuple(allow_origin or ()),
        command=tuple(command or ()),
    )
    sys.exit(emulation.run(settings, output_console(), error_console()))


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option(help="A TOML file; by default TRUNKLINE_CONFIG.", metavar="FILE")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The port; 0 selects a free one.")
    ] = None,
    uds: Annotated[
        str | None, typer.Option(help="The path of a Unix socket to listen on.", metavar="PATH")
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The port of metrics and live page.")
    ] = None,
    pid_file: Annotated[
        Path | None, typer.Option(help="Where to write the process id.", metavar="FILE")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and exit.")] = False,
) -> None:
    """Serve the Responses API over warm sockets, for many processes and languages.

    SIGTERM or Ctrl-C lets running answers end; a second Ctrl-C does not.
    """
    settings = serving.Settings(config, host, port, uds, admin_port, pid_file, checks=check)
    sys.exit(serving.run(settings, output_console(), error_console()))


@app.command()
def drain(
    process: Annotated[str, typer.Argument(help="The process id of a gateway, or its --pid-file.")],
    wait_s: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for its end; 0 does not wait.")
    ] = 150.0,
) -> None:
    """Let a gateway finish its running answers, and end it."""
    sys.exit(serving.drain(process, wait_s, output_console(), error_console()))


@app.command()
def doctor(
    base_url: Annotated[
        str | None,
        typer.Option(help="Such as https://api.openai.com/v1; by default OPENAI_BASE_URL.", metavar="URL"),
    ] = None,
    model: Annotated[str, typer.Option(help="The model's name.")] = chatting.DEFAULT_MODEL,
    api_key_env: Annotated[
        str, typer.Option(help="The variable that holds the key.", metavar="NAME")
    ] = "OPENAI_API_KEY",
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Time limit of each check, in seconds.")] = 15.0,
    emulator: Annotated[bool, typer.Option("--emulator", help="Check the embedded emulator.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check the connection to an endpoint and its features, with advice for each failure.

    Sends the model a short prompt, once over WebSocket and once over HTTP. The exit code is 1 if a required
    check fails.
    """
    settings = examination.Settings(base_url, model, api_key_env, emulator, timeout_s, as_json=as_json)
    sys.exit(examination.run(settings, output_console(), error_console()))
