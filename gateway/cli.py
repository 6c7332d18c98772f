"""The command line: parses arguments, nothing else.

Every command imports what it needs when it is called, so that `gateway --help` answers at once.
A wrong configuration is one sentence per fault on standard error and exit code 2.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.config import Settings

WRONG_CONFIGURATION = 2

# Plain help: loading rich for its frames would cost more than everything else in `--help`.
# Plain tracebacks too, since rich ones print local variables, and those hold secrets.
app = typer.Typer(
    name="gateway",
    help="Job results from Kafka reach AWS CodePipeline once, in order, soon.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
simulate = typer.Typer(
    help="Run a real Kafka or a simulated CodePipeline here.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(simulate, name="simulate")
dead_letters = typer.Typer(
    help="What could not be delivered: look at it, send it again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(dead_letters, name="dead-letters")

Config = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="YAML file with settings (also GATEWAY_CONFIG)."),
]

Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="Only of this reason; may be repeated.")
]
Jobs = Annotated[
    list[str] | None,
    typer.Option("--job", metavar="ID", help="Only of this job or key; may be repeated."),
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", help="Only of this target; may be repeated.")
]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Dead-lettered since then: RFC 3339, or 90s, 15m, 6h, 2d."),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Dead-lettered before then.")]
Positions = Annotated[
    list[str] | None,
    typer.Option(
        "--at",
        metavar="TOPIC/PARTITION/OFFSET",
        help="Only this one, by its own place or its source's; may be repeated.",
    ),
]


def main() -> None:
    """The console script. Never returns: exits with the command's code."""
    app(prog_name="gateway")


@app.command()
def run(
    config: Config = None,
    shadow: Annotated[
        bool,
        typer.Option(help="Validate and report from a group of its own; call and commit nothing."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Processes, each a member of the group (also the setting runtime.workers).",
        ),
    ] = None,
    as_worker: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Deliver job results until told to stop."""
    settings = _settings(config)
    from gateway.commands import run as command

    _exit(command.run(settings, shadow=shadow, workers=workers, config=config, as_worker=as_worker))


@app.command()
def check(config: Config = None) -> None:
    """Tell every fault of the configuration. Calls nobody."""
    settings = _settings(config)
    from gateway.commands import check as command

    _exit(command.run(settings))


@app.command()
def explain(
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Events, one a line or one document.")
    ] = "-",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per event.")] = False,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A record header, as often as needed."),
    ] = None,
    config: Config = None,
) -> None:
    """Tell what each event would become, or why not."""
    from gateway.commands import explain as command

    _exit(command.run(file, as_json=as_json, headers=header or [], config=config))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the events."""
    from gateway.commands import schema as command

    _exit(command.run())


@app.command()
def settings(
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of Markdown.")] = False,
    signals: Annotated[
        bool, typer.Option("--signals", help="The reference of logs and metrics instead.")
    ] = False,
) -> None:
    """Print the reference of settings, or of signals."""
    from gateway.commands import settings as command

    _exit(command.run(as_json=as_json, signals=signals))


@app.command()
def init(
    file: Annotated[
        Path | None, typer.Argument(help="File to write; standard output without.")
    ] = None,
) -> None:
    """Write a commented configuration to start from."""
    from gateway.commands import init as command

    _exit(command.run(file))


@app.command()
def version() -> None:
    """Print the version."""
    from gateway.commands import version as command

    _exit(command.run())


@app.command()
def demo(
    jobs: Annotated[int, typer.Option(min=1, help="Jobs that end.")] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed makes the same workload.")] = 1,
    crash: Annotated[bool, typer.Option(help="Kill the gateway half way.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object.")] = False,
) -> None:
    """See the product in a minute, a crash included."""
    from gateway.commands import demo as command

    _exit(command.run(jobs=jobs, seed=seed, crash=crash, as_json=as_json))


@simulate.command(name="codepipeline")
def simulate_codepipeline(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8090,
    jobs: Annotated[
        int, typer.Option(min=0, help="Jobs to make; their success events are printed.")
    ] = 0,
    third_party: Annotated[bool, typer.Option(help="Make third-party jobs.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Life of the jobs made.")
    ] = 86_400.0,
    any_job: Annotated[
        bool, typer.Option("--any-job", help="A job id never seen before is a job in progress.")
    ] = False,
    follow_ups_in_progress: Annotated[
        bool,
        typer.Option(
            "--follow-ups-in-progress", help="Follow-up jobs need no poll and acknowledgement."
        ),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Calls a second per account and region; more are throttled."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Calls at once per account and region; more are throttled."),
    ] = None,
    latency: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Of each call.")] = 0.0,
    latency_spread: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Added to it at random, at most.")
    ] = 0.0,
    access_key: Annotated[str | None, typer.Option(help="The key id that may call.")] = None,
    secret_key: Annotated[str | None, typer.Option(help="Its secret.")] = None,
    session_token: Annotated[str | None, typer.Option(help="Its session token.")] = None,
    account: Annotated[str, typer.Option(help="The account of that key.")] = "111122223333",
    verify_signatures: Annotated[bool, typer.Option(help="Refuse wrong signatures.")] = True,
    books: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append every call to this file.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same job ids.")] = None,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Print KEY, a tab and the event.")
    ] = False,
) -> None:
    """Simulate CodePipeline's jobs over HTTP until told to stop."""
    from gateway.commands import simulate_codepipeline as command

    _exit(
        command.run(
            host=host,
            port=port,
            jobs=jobs,
            third_party=third_party,
            timeout_seconds=timeout,
            any_job=any_job,
            follow_ups_in_progress=follow_ups_in_progress,
            rate=rate,
            concurrency=concurrency,
            latency_seconds=latency,
            latency_spread_seconds=latency_spread,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            account=account,
            verify_signatures=verify_signatures,
            books=books,
            seed=seed,
            with_keys=with_keys,
        )
    )


@simulate.command("kafka")
def simulate_kafka(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any.")] = 9092,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it stores; a fresh place without.")
    ] = None,
    java: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another java than the packaged one.")
    ] = None,
) -> None:
    """Run Apache Kafka with the three topics until told to stop."""
    from gateway.commands import simulate_kafka as command

    _exit(command.run(port=port, data=data, java=java))


@dead_letters.command("list")
def dead_letters_list(
    reason: Reasons = None,
    job: Jobs = None,
    target: Targets = None,
    since: Since = None,
    until: Until = None,
    at: Positions = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: Config = None,
) -> None:
    """List dead letters."""
    settings = _settings(config)
    from gateway.commands import dead_letters as command

    filters = command.Filters(reason or (), job or (), target or (), at or (), since, until)
    _exit(command.run_list(settings, filters, as_json=as_json))


@dead_letters.command("show")
def dead_letters_show(
    position: Annotated[
        str,
        typer.Argument(
            metavar="TOPIC/PARTITION/OFFSET", help="Of the dead letter, or of its source."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="Hide nothing: tokens, variables, headers.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Nothing but the value, as it is, secrets included.")
    ] = False,
    config: Config = None,
) -> None:
    """Show one dead letter with its headers and its value."""
    settings = _settings(config)
    from gateway.commands import dead_letters as command

    _exit(command.run_show(settings, position, as_json=as_json, with_secrets=with_secrets, raw=raw))


@dead_letters.command("replay")
def dead_letters_replay(
    reason: Reasons = None,
    job: Jobs = None,
    target: Targets = None,
    since: Since = None,
    until: Until = None,
    at: Positions = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them: no filter.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done; write nothing.")
    ] = False,
    rate: Annotated[
        float, typer.Option(min=0.001, max=1_000_000, help="Records a second at most.")
    ] = 100.0,
    max_replays: Annotated[
        int, typer.Option(min=1, max=1000, help="An event is replayed so often at most.")
    ] = 3,
    again: Annotated[
        bool,
        typer.Option("--again", help="Also what was replayed before, or may have been."),
    ] = False,
    members: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="MEMBER=JSON", help="Change a member of the value; may be repeated."
        ),
    ] = None,
    value_from: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Replace the value; for a single dead letter."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Replace a header; may be repeated."),
    ] = None,
    drop_header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave a header out; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: Config = None,
) -> None:
    """Send dead letters again, into the input topic they came from."""
    settings = _settings(config)
    from gateway.commands import dead_letters as command

    filters = command.Filters(reason or (), job or (), target or (), at or (), since, until)
    changes = command.Changes(members or (), value_from, header or (), drop_header or ())
    _exit(
        command.run_replay(
            settings,
            filters,
            changes,
            everything=everything,
            dry_run=dry_run,
            again=again,
            rate=rate,
            max_replays=max_replays,
            as_json=as_json,
        )
    )


def _settings(config: str | None) -> Settings:
    """The settings, or the end of the process with a sentence for each fault."""
    import os

    from gateway.config import ConfigurationError, load

    try:
        return load(config, os.environ)
    except ConfigurationError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        raise typer.Exit(WRONG_CONFIGURATION) from None


def _exit(code: int) -> None:
    raise typer.Exit(code)
