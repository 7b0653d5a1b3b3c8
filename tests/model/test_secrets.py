"""Secrets: how they are made, that they never show, and the rules of their file."""

from __future__ import annotations

import copy
import json
from base64 import b64decode
from dataclasses import asdict, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmuctl.model.errors import ConfigError
from kmuctl.model.secrets import Placeholders, Secret, Secrets, append, parse, password, signing_key

NO_FILES: dict[str, bytes] = {}
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["C", "Z"]), min_size=1)


def read(text: str, files: dict[str, bytes] = NO_FILES) -> dict[str, str]:
    return {name: value.reveal() for name, value in parse(text, files.get, path="secrets.env").items()}


def test_passwords_are_long_plain_and_different() -> None:
    """K31 D33: 48 letters and digits need no quoting in any format."""
    made = [password() for _ in range(200)]
    assert all(len(value) == 48 and value.isascii() and value.isalnum() for value in made)
    assert len(set(made)) == 200
    assert len(set("".join(made))) == 62


def test_signing_keys_are_as_synapse_reads_them() -> None:
    """K33: algorithm, version, 32 random bytes in unpadded Base64."""
    algorithm, version, seed = signing_key().split(" ")
    assert (algorithm, version[:2]) == ("ed25519", "a_")
    assert version[2:].isalpha()
    assert len(b64decode(seed + "=")) == 32
    assert signing_key() != signing_key()


@dataclass
class Holder:
    secret: Secret


@given(st.text(min_size=1).filter(lambda text: text not in "Holder(secret=********)"))
def test_a_secret_never_shows(value: str) -> None:
    """K102: not by str, repr, formatting, inside containers, or as a dict."""
    secret = Secret(value)
    shown = [str(secret), repr(secret), f"{secret}", "%s" % secret, f"{secret!r}"]  # noqa: UP031
    assert set(shown) == {"********"}
    assert str([secret]) == "[********]"
    assert repr(Holder(secret)) == "Holder(secret=********)"
    assert str(asdict(Holder(secret))["secret"]) == "********"
    assert secret.reveal() == value


def test_a_secret_is_no_json() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secret("x"))


def test_secrets_compare_by_value() -> None:
    assert Secret("ä") == Secret("ä") == copy.deepcopy(Secret("ä"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_placeholders_name_what_they_stand_for() -> None:
    assert Placeholders()["turn_secret"].reveal() == "<secret:turn_secret>"
    assert len(Placeholders()) == 0


def test_reading() -> None:
    """U28: names in any case, comments, blank lines, quotes, `export`."""
    text = "# a comment\n\nA=plain\nb='quo$ted #1'\nexport C=\"x y\"\n"
    assert read(text) == {"a": "plain", "b": "quo$ted #1", "c": "x y"}


def test_a_dollar_is_a_dollar() -> None:
    """K111: no shell, no Compose, no expansion but ours."""
    assert read("A=$HOME\nB='${A}'\n") == {"a": "$HOME", "b": "${A}"}


def test_references() -> None:
    """U55: to any depth, in any order."""
    assert read("C={{B}}!\nA=1\nB={{ a }}{{A}}\n") == {"c": "11!", "a": "1", "b": "11"}


def test_a_long_cycle_is_shown_in_full() -> None:
    """U55."""
    with pytest.raises(ConfigError, match="A: refers to itself: A -> B -> C -> A"):
        read("A={{B}}\nB={{C}}\nC={{A}}\n")


def test_a_value_from_a_file_of_its_own() -> None:
    """U58: without the newline at its end."""
    assert read("A_FILE=/run/a\n", {"/run/a": b"value\n"}) == {"a": "value"}


def test_appending_keeps_every_byte() -> None:
    """K31."""
    text = "# mine\nA=1\r\n\n  B = '2'"
    assert append(text, {"c_d": Secret("3"), "e": Secret("a b")}) == text + "\nC_D=3\nE='a b'\n"
    assert append("", {"a": Secret("1")}) == "A=1\n"


@given(st.dictionaries(st.from_regex(r"\A[a-z][a-z0-9_]{0,20}[a-z0-9]\Z"), st.sampled_from([password, signing_key])))
def test_what_is_made_survives_its_file(made: dict[str, object]) -> None:
    """U56: written and read again."""
    values = {name: Secret(make()) for name, make in made.items() if callable(make) if not name.endswith("_file")}
    assert dict(parse(append("", values), NO_FILES.get, path="x")) == values


@given(VALUES.filter(lambda text: not set("'\\{") & set(text)))
def test_what_a_person_quotes_survives(value: str) -> None:
    assert read(f"A='{value}'\n") == {"a": value}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text, NO_FILES.get, path="secrets.env")
    except ConfigError as error:
        assert error.message.startswith("`secrets.env` is not a valid secrets file:\n  ")
        return
    assert isinstance(found, Secrets)
    assert all(value.reveal() for value in found.values())
