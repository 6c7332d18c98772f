"""Bytes to one JSON object: exactly one, each key once, or a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.json_text import DEEPEST, LARGEST_BYTES, read_object
from gateway.core.model import Violation


def why_not(value: bytes) -> str:
    read = read_object(value)
    assert isinstance(read, tuple), read
    return "; ".join(map(str, read))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"", "$: is empty"),
        (b" \r\n\t", "$: is empty"),
        (b"[]", "$: must be one object, not an array: each result is a record of its own"),
        (b'[{"jobId":"a"}]', "$: must be one object, not an array"),
        (b"null", "$: must be an object"),
        (b'"text"', "$: must be an object"),
        (b"17", "$: must be an object"),
        (b'{"a":1', "$: is no JSON: it ends too early (line 1, column 7)"),
        (b'{"a":"x', "$: is no JSON: it ends too early"),
        (b'{"a":1}{"b":2}', "$: is no JSON: a syntax error (line 1, column 8)"),
        (b"{'a':1}", "$: is no JSON: a syntax error"),
        (b'{"a":1,}', "$: is no JSON: a syntax error"),
        (b'{"a":\n number}', "$: is no JSON: a syntax error (line 2, column 2)"),
        (b'{"a":"\x00"}', "$: is no JSON: a syntax error"),
        (b'{"a":NaN}', "$: is no JSON: NaN and Infinity are no numbers (line 1, column 6)"),
        (b'{"a":Infinity}', "$: is no JSON: NaN and Infinity are no numbers"),
        (b'{"a":-Infinity}', "$: is no JSON: NaN and Infinity are no numbers"),
        (b'{"a":1e999}', "$: is no JSON: a number is too large"),
        (b'{"a":' + b"9" * 100_000 + b"}", "$: is no JSON: a number is too large"),
        (b'{"a":"\\ud800"}', "$: is no JSON: half of a surrogate pair is no character"),
        (b'{"a":"\\udc00"}', "$: is no JSON: half of a surrogate pair is no character"),
        (b'{"a":"\xed\xa0\x80"}', "$: must be UTF-8, is not at byte 6"),
        (b'{"a":"\xc3', "$: must be UTF-8, is not at byte 6"),
        (b"\xff\xfe{\x00}\x00", "$: must be UTF-8, is not at byte 0"),
        (b"\xef\xbb\xbf{}", "$: must be UTF-8 without byte order mark"),
        (b"Obj\x01\x04", "$: is an Avro file: only JSON is read"),
        (b"\x00\x00\x00\x00\x07\x06abc", "$: is Avro or Protobuf (framed by a schema registry)"),
        (b"\x00\x00\x00\x00\x07\x00\x0a\x03abc", "$: is Avro or Protobuf (framed by a schema"),
        (b"\x00", "$: is Avro or Protobuf (framed by a schema registry)"),
        (b"\x00\x00\x00\x00\x07{abc", "$: is framed by a schema registry; only JSON is read"),
        (b" " * (LARGEST_BYTES + 1), f"$: must be <= {LARGEST_BYTES} bytes"),
    ],
)
def test_what_is_no_single_object_is_refused_by_a_sentence(value: bytes, sentence: str) -> None:
    assert sentence in why_not(value)


def test_ten_megabytes_are_refused() -> None:
    assert why_not(b'{"a":"' + b"x" * 10_000_000 + b'"}') == f"$: must be <= {LARGEST_BYTES} bytes"


def test_confluents_framing_is_taken_off() -> None:
    assert read_object(b'\x00\x00\x00\x00\x07{"a":1}') == {"a": 1}


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("levels", [DEEPEST, 300, 1000, 1100, 50_000])
def test_deep_nesting_is_refused_by_its_own_sentence(opening: str, levels: int) -> None:
    closing = {"[": "]", '{"a":': "}"}[opening]
    deep = f'{{"a":{opening * levels}1{closing * levels}}}'.encode()
    assert why_not(deep) == "$: must not be nested deeper than 32 levels"
    assert why_not(f'{{"a":{opening * 50_000}'.encode()).startswith("$: ")


def test_nesting_up_to_the_bound_and_braces_in_strings_are_read() -> None:
    depth = DEEPEST - 1
    assert isinstance(read_object(b'{"a":' + b"[" * depth + b"]" * depth + b"}"), dict)
    assert read_object(b'{"a":"' + b"{[" * 100 + b'"}') == {"a": "{[" * 100}


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (b'{"a":1,"a":1}', ["$.a"]),
        (b'{"a":1,"a":1,"a":1}', ["$.a"]),
        (b'{"a":1,"\\u0061":2}', ["$.a"]),
        (b'{"a:":1,"a\\u003a":2}', ['$["a:"]']),
        (b'{"a":"x:y","a":"\\u003a"}', ["$.a"]),
        (b'{"a":"\\u003a\\u003a","b":{"c":"\\u003A","c":1}}', ["$.b.c"]),
        (b'{"a":[{"b":1},{"b":1,"b":[]}]}', ["$.a[1].b"]),
        (b'{"a":{"b":1,"b":2},"a":{"c":{}}}', ["$.a"]),
        (b'{"a":{"b":1,"b":2},"c":{"d":1,"d":":"}}', ["$.a.b", "$.c.d"]),
        (b'{"":1,"":2}', ['$[""]']),
    ],
)
def test_a_repeated_key_is_named_at_every_level(text: bytes, members: list[str]) -> None:
    assert read_object(text) == tuple(
        Violation(member, "stands there more than once") for member in members
    )


def test_of_many_objects_with_repeated_keys_some_are_named() -> None:
    read = read_object(b'{"x":[' + b'{"a":1,"a":1},' * 1000 + b"1]}")
    assert isinstance(read, tuple)
    assert len(read) == 20
    assert set(read) <= {
        Violation(f"$.x[{n}].a", "stands there more than once") for n in range(1000)
    }


def test_a_thousand_repeated_keys_make_a_bounded_answer() -> None:
    pairs = ",".join(f'"{name}":1,"{name}":2' for name in range(1000))
    assert len(read_object(f"{{{pairs}}}".encode())) == 20


# --- the cheap check for repeated keys is exact in effect -----------------------------------------

KEYS = st.sampled_from(["a", "b", ":", "a:", "\\", '":', "\n", "é", "\u2028", ""])
STRINGS = st.text(alphabet='a:\\"{},[]é\n\U0001f680', max_size=6)
SCALARS = STRINGS | st.integers(-5, 5) | st.booleans() | st.none() | st.floats(-2, 2)
Tree = Any


def objects(children: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    """Objects as lists of pairs, so that keys may repeat."""
    return st.lists(st.tuples(KEYS, children), max_size=5).map(lambda pairs: ("object", pairs))


TREES = st.recursive(SCALARS, lambda inner: objects(inner) | st.lists(inner, max_size=3))


def escaped(text: str, how: int) -> str:
    """A JSON string in one of the ways that a serialiser may write it."""
    if how == 0:
        return json.dumps(text)
    if how == 1:
        return json.dumps(text, ensure_ascii=False)
    units = text.encode("utf-16-be")
    codes = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return '"' + "".join("\\u" + (code.upper() if how == 2 else code) for code in codes) + '"'


def written(tree: Tree, draw_how: Any) -> str:
    space = " \n" if draw_how() == 3 else ""
    if isinstance(tree, tuple):
        pairs = (
            f"{escaped(key, draw_how())}{space}:{space}{written(value, draw_how)}"
            for key, value in tree[1]
        )
        return "{" + ",".join(pairs) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(written(item, draw_how) for item in tree) + "]"
    return escaped(tree, draw_how()) if isinstance(tree, str) else json.dumps(tree)


def has_repetition(tree: Tree) -> bool:
    if isinstance(tree, tuple):
        keys = [key for key, _ in tree[1]]
        return len(set(keys)) < len(keys) or any(has_repetition(value) for _, value in tree[1])
    return isinstance(tree, list) and any(map(has_repetition, tree))


@given(tree=objects(TREES), data=st.data())
def test_repeated_keys_are_found_exactly(tree: Tree, data: st.DataObject) -> None:
    text = written(tree, lambda: data.draw(st.integers(0, 3)))
    read = read_object(text.encode())
    assert isinstance(read, tuple) is has_repetition(tree)
    if isinstance(read, dict):
        assert read == json.loads(text)


@given(value=st.binary(max_size=200))
@example(b'{"a":"\\u003a","a":1}')
def test_no_bytes_raise(value: bytes) -> None:
    read_object(value)
