"""`gateway explain`: the call that each event would become, or every rule that it breaks."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.commands import explain, schema
from gateway.commands.explain import events_in
from tests.core.examples import CLIENT_ID, EVENTS, JOB_ID, event
from tests.reference_events import CLIENT_TOKEN, REFERENCE_PAGES

BAD = b'{"jobId": "x", "executionDetails": {"percentComplete": 101}}'


def run(
    tmp_path: Path,
    text: bytes,
    *,
    as_json: bool = False,
    headers: tuple[str, ...] = (),
    config: str = "",
) -> int:
    file = tmp_path / "events.json"
    file.write_bytes(text)
    settings = tmp_path / "gateway.yaml"
    settings.write_text(config)
    return explain.run(
        str(file), as_json=as_json, headers=list(headers), config=str(settings) if config else None
    )


@pytest.mark.parametrize("page", REFERENCE_PAGES)
def test_each_reference_page_is_a_call(
    page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, REFERENCE_PAGES[page](JOB_ID)) == 0
    told = capsys.readouterr().out
    assert "event 1 (line 1): Put" in told
    assert "to target default" in told
    assert f'  jobId                                 "{JOB_ID}"' in told
    assert "executionDetails.percentComplete" in told


def test_what_is_wrong_is_told_member_by_member(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, BAD) == 1
    assert capsys.readouterr().out.splitlines() == [
        "event 1 (line 1): rejected as invalid",
        "  $.jobId: must match [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "  $.executionDetails.percentComplete: must be <= 100",
    ]


def test_a_page_verbatim_is_told_member_by_member_although_it_is_no_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = b"""{ "continuationToken": "string", "currentRevision": { "changeIdentifier": "string",
        "created": number, "revision": "string", "revisionSummary": "string" },
        "executionDetails": { "percentComplete": number }, "jobId": "string",
        "outputVariables": { "string" : "string" } }"""
    assert run(tmp_path, page, as_json=True) == 1
    rejection = json.loads(capsys.readouterr().out)["rejection"]
    assert rejection["reason"] == "malformed"
    assert [violation["member"] for violation in rejection["violations"]] == [
        "$",
        "$.jobId",
        "$.currentRevision.created",
        "$.executionDetails.percentComplete",
        "$.outputVariables",
    ]


def test_one_bad_event_of_several_makes_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = json.dumps(event()).encode()
    assert run(tmp_path, good + b"\n" + good) == 0
    assert run(tmp_path, good + b"\n{broken\n" + good, as_json=True) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()[-3:]]
    assert [(each["event"], each["line"], "call" in each) for each in told] == [
        (1, 1, True),
        (2, 2, False),
        (3, 3, True),
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_no_secret_is_shown(
    as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"password": "hunter2"}
    lines = [json.dumps(made | {"clientToken": "hunter2"}) for made in EVENTS.values()]
    lines += [json.dumps(event(outputVariables=variables)), json.dumps({"clientToken": "hunter2"})]
    run(tmp_path, "\n".join(lines).encode(), as_json=as_json, headers=("gateway-target=hunter2",))
    run(tmp_path, "\n".join(lines).encode(), as_json=as_json)
    run(tmp_path, REFERENCE_PAGES["001_r_paws_put_third_party_job_success_result"](JOB_ID))
    shown = capsys.readouterr()
    assert "***" in shown.out
    assert CLIENT_TOKEN not in shown.out + shown.err
    without_target_names = shown.out.replace('names \\"hunter2\\"', "").replace('"hunter2"', "")
    assert "hunter2" not in without_target_names + shown.err


def test_control_characters_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, json.dumps(event(executionDetails={"summary": "\x1b[31m\x9b\u202e"})).encode())
    assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_headers_name_operation_and_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = "targets: {eu: {}, us: {}}\ninput: {topics: [t], allowed: {t: [eu]}}\n"
    text = json.dumps(event()).encode()
    assert run(tmp_path, text, headers=("gateway-target=eu",), config=config) == 0
    assert "to target eu" in capsys.readouterr().out
    assert run(tmp_path, text, headers=("gateway-target=us",), config=config) == 1
    assert run(tmp_path, text, headers=("gateway-operation=PutJobFailureResult",)) == 1
    told = capsys.readouterr().out
    assert 'header gateway-target: names "us", which topic t is not allowed to reach' in told
    assert "header gateway-operation: names PutJobFailureResult" in told


def test_client_ids_are_looked_up_where_there_is_a_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_id = json.dumps({"jobId": "job", "clientId": CLIENT_ID}).encode()
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    config = f"third_party: {{client_tokens: {tokens}}}\n"
    assert run(tmp_path, by_id) == 0
    assert run(tmp_path, by_id, config=config) == 1
    (tokens / CLIENT_ID).write_text("hunter2\n")
    assert run(tmp_path, by_id, config=config) == 0
    assert "hunter2" not in capsys.readouterr().out


def test_standard_input_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(event()).encode())))
    assert explain.run("-", as_json=False, headers=[], config=None) == 0
    assert "PutJobSuccessResult" in capsys.readouterr().out


def test_wrong_use_is_a_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing")
    assert explain.run(missing, as_json=False, headers=[], config=None) == 2
    assert run(tmp_path, BAD, headers=("nonsense",)) == 2
    assert run(tmp_path, BAD, config="unknown: 1\n") == 2
    assert capsys.readouterr().err.splitlines()[:2] == [
        f"{missing}: No such file or directory",
        "--header: must be NAME=VALUE",
    ]


def test_a_file_without_events_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, b" \n") == 1
    assert "no events" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b'{"a":1}', [b'{"a":1}']),
        (b'{\n  "a": 1\n}\n', [b'{\n  "a": 1\n}']),
        (b'{"a":1}\n{"b":2}\n\n{"c":3}', [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
        (b'{"a":1}{"b":2} {"c":3}', [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
        (b'{\n "a": 1\n}\n{\n "b": 2\n}', [b'{\n "a": 1\n}', b'{\n "b": 2\n}']),
        (b'{\n "a":\n}\n{"b":2}', [b'{\n "a":\n}', b'{"b":2}']),
        (b'{"a":1\n{"b":2}', [b'{"a":1', b'{"b":2}']),
        (b'{"a":"\xff"}\n{"b":2}', [b'{"a":"\xff"}', b'{"b":2}']),
        (b'{"a":1,"a":NaN}\n[1]', [b'{"a":1,"a":NaN}', b"[1]"]),
        (b"[" * 100_000 + b'\n{"b":2}', [b"[" * 100_000, b'{"b":2}']),
        (b"", []),
    ],
)
def test_a_file_is_taken_apart_into_documents(text: bytes, values: list[bytes]) -> None:
    assert [value for _, value in events_in(text)] == values


def test_the_command_line_explains(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "explain", "--json", "-"]
    good = subprocess.run(command, input=json.dumps(event()).encode(), capture_output=True)
    bad = subprocess.run(command, input=BAD, capture_output=True)
    assert (good.returncode, bad.returncode) == (0, 1)
    assert json.loads(good.stdout)["call"]["operation"] == "PutJobSuccessResult"


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.run() == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
