"""keys: what the key folder holds, made, imported, wrapped anew."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli import talk
from core.cli.output import Json, say, say_json, table
from core.clock import DAY, SystemClock, from_datetime, to_datetime
from core.errors import StafetError, UsageError
from core.keys import create_kek
from core.trust import Identity, fingerprint, load_identity, read_p12, store_identity, subject

app = typer.Typer(help="The node's private keys and key-encryption keys.", no_args_is_help=True)


def _facts(identity: Identity) -> dict[str, Any]:
    certificate = identity.certificate
    left = (from_datetime(certificate.not_valid_after_utc) - SystemClock().now()) // DAY
    return {
        "name": identity.name,
        "subject": subject(certificate),
        "issuer": certificate.issuer.rfc4514_string(),
        "until": certificate.not_valid_after_utc.astimezone(UTC).date().isoformat(),
        "days_left": left,
        "bits": getattr(identity.key, "key_size", 0),
        "sha256": fingerprint(certificate),
    }


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """What the key folder holds: names, subjects, ends; never a key."""
    folder = talk.settings().keys_path
    found, wrong = [], []
    for path in sorted(folder.glob("*.pem")):
        try:
            found.append(_facts(load_identity(folder, path.stem)))
        except StafetError as error:
            wrong.append({"name": path.stem, "cause": str(error)})
    wrapping = sorted(p.stem for p in folder.glob("*.kek"))
    if as_json:
        say_json({"keys": found, "unreadable": wrong, "key_encryption_keys": wrapping})
        return
    heads = ("name", "bits", "days left", "subject", "SHA-256")
    table("keys", heads, [(k["name"], k["bits"], k["days_left"], k["subject"], k["sha256"][:16]) for k in found])
    for item in wrong:
        say(f"{item['name']}: {item['cause']}")
    say("key-encryption keys: " + (", ".join(wrapping) or "none; run `stafet keys new`"))


@app.command("new")
def new(
    name: Annotated[
        str, typer.Option("--id", help="Its name; names sort, and the last one wraps. Default: by date.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Make a key-encryption key: it wraps every parcel's data key from the next start on."""
    folder = talk.settings().keys_path
    name = name or f"kek-{to_datetime(SystemClock().now()):%Y-%m-%d-%H%M%S}"
    if not name.replace("-", "").replace(".", "").replace("_", "").isalnum():
        raise UsageError(f"--id: {name!r} is no name; use letters, digits, dash, dot and underscore")
    try:
        path = create_kek(folder, name)
    except FileExistsError:
        raise UsageError(f"--id: there is a key-encryption key called {name!r} already") from None
    if as_json:
        say_json({"id": name, "path": str(path)})
    else:
        say(f"{path} made. Keep a copy of it elsewhere: without it, data and backups cannot be read.")


@app.command("import")
def import_p12(
    file: Annotated[Path, typer.Argument(help="The PKCS#12 file a certificate authority handed out.")],
    name: Annotated[str, typer.Option("--name", help="What documents and node.yaml call it.")],
    password_file: Annotated[Path | None, typer.Option(help="A file whose first line is the password.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the name over; the old key is kept beside it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take a private key with its certificates into the key folder."""
    try:
        octets = file.read_bytes()
        secret = password_file.read_text().splitlines() if password_file else None
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    password = typer.prompt("Password", hide_input=True, err=True) if secret is None else (secret[0] if secret else "")
    key, chain = read_p12(octets, password.encode())
    folder = talk.settings().keys_path
    store_identity(folder, name, key, chain, replace=replace)
    facts = _facts(load_identity(folder, name))
    if as_json:
        say_json(facts)
        return
    say(f"{name}: {facts['subject']}")
    say(f"  issued by {facts['issuer']}, until {facts['until']} ({facts['days_left']} days)")
    say(f"  SHA-256 {facts['sha256']}")
    say("A running node reads it at the next `stafet apply`, or when it is started.")


@app.command("rewrap")
def rewrap(as_json: Json = False) -> None:
    """Wrap every parcel's data key under the newest key-encryption key; no payload is touched."""
    result = talk.do("rewrap", {}, "rewrapping")
    if as_json:
        say_json(result)
    else:
        say(f"{result['rewrapped']} data keys are now under {result['key']}; nothing is left under older ones")
