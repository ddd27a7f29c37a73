"""Node-local settings: what is assumed, where paths lead, and what refuses the start with the setting's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core import limits
from core.errors import ConfigError
from core.settings import FILE, NodeSettings, load_settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder without settings."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def made(home: Path, text: str | bytes) -> NodeSettings:
    """The settings of a home whose node.yaml says ``text``."""
    (home / FILE).write_bytes(text.encode() if isinstance(text, str) else text)
    return load_settings(home)


def refusal(home: Path, text: str | bytes) -> str:
    """Why a node.yaml is refused, without the path."""
    with pytest.raises(ConfigError) as caught:
        made(home, text)
    said = str(caught.value)
    assert said.startswith(str(home / FILE))
    return said.removeprefix(str(home / FILE)).removeprefix(": ")


def test_an_empty_file_is_a_node_that_listens_nowhere(home: Path):
    """Everything lies in the home folder, the ledger is SQLite, no gateway is active and nothing is served."""
    for text in ("", "# nothing yet\n", "{}\n", "---\n"):
        found = made(home, text)
        assert found.model_dump(mode="json") == {
            "node": "node",
            "data": "data",
            "keys": "keys",
            "config": "config",
            "database": "",
            "store": None,
            "gateways": {},
            "operations": {"host": "127.0.0.1", "port": 0},
            "log": {"level": "info", "style": "auto"},
            "second_person": False,
            "mail": None,
            "keep": {"access_days": 90, "statistics_days": 1826},
            "free_space_reserve": limits.FREE_SPACE_RESERVE,
            "in_flight": limits.IN_FLIGHT,
            "waiting_in_all": limits.WAITING_IN_ALL,
        }
        assert found.database_url == f"sqlite:///{home}/data/ledger.db"


def test_paths_are_relative_to_the_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Wherever the command is given, the home folder is where things are; a path from the root stays."""
    monkeypatch.chdir(tmp_path)
    (home / FILE).write_text(f"data: d\nkeys: ../keys\nconfig: {tmp_path}/c\nstore: ./s\ndatabase: sqlite:///l.db\n")
    for found in (load_settings(home), load_settings(Path("home"))):
        assert found.data_path == home / "d"
        assert found.keys_path == tmp_path / "keys"
        assert found.config_path == tmp_path / "c"
        assert found.store_path == home / "s"
        assert found.socket_path == home / "d" / "node.sock"
        assert found.lock_path == home / "d" / "node.lock"
        assert found.database_url == f"sqlite:///{home}/l.db"
    assert made(home, "data: d\n").store_path == home / "d" / "store"
    assert made(home, "database: sqlite:////var/lib/x.db\n").database_url == "sqlite:////var/lib/x.db"


def test_a_home_can_be_copied_whole(home: Path, tmp_path: Path):
    """The same file in another folder speaks of that folder."""
    made(home, "keys: k\n")
    other = tmp_path / "other"
    home.rename(other)
    assert load_settings(other).keys_path == other / "k"


def test_what_a_node_may_say(home: Path):
    """Every section; what a gateway is told is the gateway's to judge."""
    found = made(
        home,
        "node: north-1\noperations: {host: 0.0.0.0, port: 65535}\nlog: {level: debug, style: json}\n"
        "in_flight: 1024\nfree_space_reserve: 0\ngateways:\n  paper: {tray: 2}\n",
    )
    assert (found.node, found.operations.port, found.log.style, found.in_flight) == ("north-1", 65535, "json", 1024)
    assert (found.free_space_reserve, found.gateways) == (0, {"paper": {"tray": 2}})
    with pytest.raises(ValueError, match="frozen"):
        found.node = "south"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("funny: 1\n", "funny: Extra inputs are not permitted"),
        ("operations: {prot: 1}\n", "operations.prot: Extra inputs are not permitted"),
        ("log: {level: loud}\n", "log.level: Input should be 'debug', 'info', 'warning' or 'error'"),
        ("operations: {port: 65536}\n", "operations.port: Input should be less than or equal to 65535"),
        ("operations: {port: -1}\n", "operations.port: Input should be greater than or equal to 0"),
        ("operations: 8080\n", "operations: Input should be a valid dictionary"),
        ("node: Nord 1\n", "node: String should match pattern"),
        ("node: 1\n", "node: Input should be a valid string"),
        ("data: 5\n", "data: Input is not a valid path"),
        ("in_flight: 0\n", "in_flight: Input should be greater than or equal to 1"),
        ("in_flight: 1025\n", "in_flight: Input should be less than or equal to 1024"),
        ("free_space_reserve: -1\n", "free_space_reserve: Input should be greater than or equal to 0"),
        ("gateways: [paper]\n", "gateways: Input should be a valid dictionary"),
        ("gateways:\n  paper:\n", "gateways.paper: Input should be a valid dictionary"),
        ("home: elsewhere\n", "home: is the folder of this file; it cannot be set"),
        ("- node\n", "is no mapping"),
        ("words\n", "is no mapping"),
    ],
)
def test_a_setting_that_is_wrong_or_unknown_is_named(home: Path, text: str, said: str):
    """The field comes with its section; nothing is guessed or left out."""
    assert refusal(home, text).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keys: data\n", "keys: lies inside data, where every backup would take it (choose a folder outside data)"),
        ("keys: data/keys\n", "keys: lies inside data, where every backup would take it"),
        ("data: ./d\nkeys: x/../d/k\n", "keys: lies inside data, where every backup would take it"),
        ("data: .\n", "keys: lies inside data, where every backup would take it"),
        (
            "store: .\ndata: d\n",
            "keys: lies inside store, where every backup would take it (choose a folder outside store)",
        ),
        ("store: s\nkeys: s/keys\n", "keys: lies inside store, where every backup would take it"),
    ],
)
def test_keys_never_lie_where_a_backup_would_take_them(home: Path, text: str, said: str):
    """However the path is written: the start is refused with the name of the setting."""
    assert refusal(home, text).startswith(said)


def test_a_link_does_not_hide_where_the_keys_are(home: Path):
    """What counts is where a path leads; a folder with a similar name is another folder."""
    (home / "data").mkdir()
    (home / "elsewhere").symlink_to("data")
    assert refusal(home, "keys: elsewhere/keys\n").startswith("keys: lies inside data")
    assert made(home, "keys: data-keys\n").keys_path == home / "data-keys"


@pytest.mark.parametrize("name", ["data", "store", "keys", "config"])
def test_a_path_that_leads_nowhere_is_named(home: Path, name: str):
    """An octet that no path can hold, and a link that leads back to itself."""
    (home / "circle").symlink_to("circle")
    for value in ('"a\\0b"', "circle/x"):
        assert refusal(home, f"{name}: {value}\n") == f"{name}: is no path that leads anywhere"


def test_the_file_is_plain_yaml_or_refused(home: Path, monkeypatch: pytest.MonkeyPatch):
    """What is read twice by two people must read the same here too, and costs no more than it should."""
    for text, said in (
        ("in_flight: 5\nin_flight: 50\n", ":2: is no plain YAML: the key 'in_flight' stands twice"),
        ("data: &d x\nkeys: *d\n", ":1: is no plain YAML: anchors and aliases are not taken"),
        ("node: !!python/name:os.system x\n", ":1: is no plain YAML: tags are not taken"),
        ("node: a\n---\nnode: b\n", ":3: begins a second document; one is taken"),
        ("node: [\n", ":2: is no plain YAML: "),
        ("node: 2026-02-31\n", ":1: is no plain YAML: day is out of range for month"),
        ("[" * 5000, ":1: is no plain YAML: more than 32 levels"),
        (b"node: \xe6\n", "is not UTF-8 at octet 6"),
    ):
        assert refusal(home, text).startswith(said), said
    monkeypatch.setattr("core.settings.DOCUMENT_SIZE", 20)
    assert made(home, "#" * 20).node == "node"
    assert refusal(home, "#" * 21) == "larger than 20 octets"


def test_values_of_every_kind_are_refused_by_name(home: Path):
    """A file of one value that is no mapping, empty or not."""
    for text in ("[]\n", "0\n", "false\n", "[a]\n"):
        assert refusal(home, text) == "is no mapping"


def test_a_home_without_settings_is_said_so(home: Path):
    """With what to do; something else in the file's place is not read."""
    with pytest.raises(ConfigError) as caught:
        load_settings(home)
    assert str(caught.value) == f"{home / FILE}: is not there (name a home folder with --home)"
    (home / FILE).mkdir()
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load_settings(home)


# --- secrets ----------------------------------------------------------------------------------------------------------

URL = "postgresql+psycopg://stafet:${DB_PASSWORD}@db.example/${DB_NAME}"


def test_a_secret_is_taken_from_the_environment_when_it_is_needed(home: Path, monkeypatch: pytest.MonkeyPatch):
    """The file and the settings hold the name alone, so that neither a dump nor an error shows the value."""
    monkeypatch.setenv("DB_PASSWORD", "very-secret")
    monkeypatch.setenv("DB_NAME", "ledger")
    found = made(home, f"database: {URL}\n")
    assert found.database_url == "postgresql+psycopg://stafet:very-secret@db.example/ledger"
    assert "very-secret" not in repr(found)
    assert "very-secret" not in found.model_dump_json()


def test_a_secret_that_is_not_there_is_named(home: Path, monkeypatch: pytest.MonkeyPatch):
    """The name itself is never taken for the password; an empty value is a value."""
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    monkeypatch.setenv("DB_NAME", "")
    found = made(home, f"database: {URL}\n")
    with pytest.raises(ConfigError) as caught:
        _ = found.database_url
    assert str(caught.value) == (
        f"{home / FILE}: database: the environment has no DB_PASSWORD (set it, or write the URL without it)"
    )
    monkeypatch.setenv("DB_PASSWORD", "x")
    assert found.database_url == "postgresql+psycopg://stafet:x@db.example/"


def test_only_names_in_braces_are_taken(home: Path, monkeypatch: pytest.MonkeyPatch):
    """A dollar sign is an ordinary character, and what came from the environment is not looked at again."""
    monkeypatch.setenv("A", "${B}$A")
    found = made(home, "database: postgresql+psycopg://u:$A$$%24${A}{A}@db.example/x\n")
    assert found.database_url == "postgresql+psycopg://u:$A$$%24${B}$A{A}@db.example/x"


@pytest.mark.parametrize("url", ["${DB_PASSWORD}", "postgresql+psycopg://u:${DB_PASSWORD}@db.example:port/x"])
def test_a_url_that_is_none_is_refused_without_showing_it(home: Path, url: str, monkeypatch: pytest.MonkeyPatch):
    """It may hold a secret."""
    monkeypatch.setenv("DB_PASSWORD", "very-secret")
    with pytest.raises(ConfigError) as caught:
        _ = made(home, f"database: {url}\n").database_url
    assert str(caught.value) == f"{home / FILE}: database: is no database URL"
    assert caught.value.__suppress_context__


TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60) | TEXTS.map(lambda text: f"database: {text}".encode()))
def test_whatever_stands_in_the_file_is_settings_or_a_refusal(data: bytes, tmp_path_factory: pytest.TempPathFactory):
    """No octets start a node half-way or end in anything but a named refusal."""
    home = tmp_path_factory.mktemp("home")
    try:
        found = made(home, data)
        assert found.database_url
    except ConfigError as error:
        assert error.file.startswith(str(home / FILE))
        assert error.cause


MAIL = {"host": "mail.birkelund.example", "from": "stafet@birkelund.example", "to": ["vagt@birkelund.example"]}


@pytest.mark.requirement("R79", "R131")
def test_mail_is_encrypted_unless_the_server_is_this_machine():
    """STARTTLS on the submission port by default; nothing else is safe to leave out."""
    mail = NodeSettings.model_validate({"mail": MAIL}).mail
    assert mail is not None
    assert (mail.port, mail.tls, mail.sender, mail.to) == (587, "starttls", MAIL["from"], tuple(MAIL["to"]))
    assert mail.quiet == limits.MAIL_QUIET / 1_000_000
    for host in ("localhost", "127.0.0.1", "::1"):
        NodeSettings.model_validate({"mail": {**MAIL, "host": host, "tls": "none"}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tls": "none"}, "tls: none is for a server on this machine alone"),
        ({"user": "stafet"}, "user and password come together"),
        ({"password": "${MAIL_WORD}"}, "user and password come together"),
        ({"user": "stafet", "password": "written here"}, "pattern"),
        ({"user": "stafet", "password": "x${MAIL_WORD}"}, "pattern"),
        ({"to": []}, "at least 1 item"),
        ({"to": ["nobody"]}, "pattern"),
        ({"to": ["a@b.example\nBcc: c@d.example"]}, "pattern"),
        ({"from": "Stafet <stafet@birkelund.example>"}, "pattern"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"quiet": -1}, "greater than or equal to 0"),
        ({"subject": "x"}, "Extra inputs"),
    ],
)
def test_a_section_mail_that_is_unsafe_or_wrong_is_refused(changes, words):
    """Naming what is wrong; a password is never written here."""
    with pytest.raises(ValidationError, match=words):
        NodeSettings.model_validate({"mail": {**MAIL, **changes}})


def test_a_value_is_taken_from_the_environment(monkeypatch):
    """Wherever a setting names it, and never guessed."""
    monkeypatch.setenv("MAIL_WORD", "secret")
    monkeypatch.delenv("NO_SUCH", raising=False)
    settings = NodeSettings()
    assert settings.from_environment("mail.password", "${MAIL_WORD}") == "secret"
    with pytest.raises(
        ConfigError, match=r"mail\.user: the environment has no NO_SUCH \(set it before the node starts\)"
    ):
        settings.from_environment("mail.user", "${NO_SUCH}")
