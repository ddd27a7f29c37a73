"""Sealing certificates over real TLS: for those who exchange with a system, the newest that holds first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from conformance.pki import Authority, write
from conformance.town import agreement
from core.clock import SystemClock, to_datetime
from core.trust import fingerprint
from tests.gateways.as4.running import applied
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place

PEM = {"Accept": "application/pem-certificate-chain"}


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A journal with three sealing certificates: one that has ended, one that holds, one that replaces it."""
    async with offices(tmp_path) as found:
        home, now = found.town.home / "config", to_datetime(SystemClock().now())
        for name, at in (("old", now - timedelta(days=4000)), ("held", now - timedelta(days=40)), ("new", now)):
            made = Authority("Birkelund demonstration CA", at).issue(f"journal {name}", "encryption", kind="rsa-2048")
            write(home / "certificates" / f"{name}.pem", made.certificate_pem())
        text = (home / "all.yaml").read_text()
        documents = list(yaml.safe_load_all(text))
        for one in documents:
            if one["id"] == "birkelund-journal" and one["kind"] == "system":
                names = ("old", "held", "new")
                one |= {"sealing_certificates": [f"certificates/{name}.pem" for name in names], "functions": ["wards"]}
        documents.append({"kind": "function", "id": "wards", "title": "The wards", "authority": "11223344"})
        documents.append(agreement("stays", "egedal-care", "send"))
        found.town.write("all.yaml", documents)
        await applied(found.node)
        yield found


@pytest.mark.requirement("R63")
async def test_the_newest_that_holds_comes_first(birkelund: Place):
    """What has ended is left out; as JSON with fingerprints and ends, or as PEM in the same order."""
    care = birkelund.system("egedal-care")
    status, said = await care.ask("GET", "/v1/systems/birkelund-journal/certificates")
    assert status == 200
    assert ["new" in one["subject"] for one in said["certificates"]] == [True, False]
    assert all(one["ends"] > one["begins"] for one in said["certificates"])
    status, octets, headers = await care.full("GET", "/v1/systems/birkelund-journal/certificates", headers=PEM)
    assert (status, headers["Content-Type"]) == (200, PEM["Accept"])
    made = x509.load_pem_x509_certificates(octets)
    assert [fingerprint(one) for one in made] == [one["fingerprint"] for one in said["certificates"]]
    known = {"If-None-Match": headers["ETag"], **PEM}
    assert (await care.ask("GET", "/v1/systems/birkelund-journal/certificates", headers=known))[0] == 304
    wrong = {"Accept": "image/png"}
    assert (await care.ask("GET", "/v1/systems/birkelund-journal/certificates", headers=wrong))[0] == 406


async def test_a_system_is_shown_to_those_who_exchange_with_it(birkelund: Place):
    """Its authority and its counterparts; for others it is as absent as one that does not exist."""
    path, seen = "/v1/systems/{}/certificates", {}
    for name in ("birkelund-robot", "egedal-care", "node-admin", "egedal-journal", "demo-supplier"):
        seen[name] = (await birkelund.system(name).ask("GET", path.format("birkelund-journal")))[0]
    assert seen == {
        "birkelund-robot": 200,
        "egedal-care": 200,
        "node-admin": 200,
        "egedal-journal": 404,
        "demo-supplier": 404,
    }
    assert (await birkelund.system("egedal-care").ask("GET", path.format("nobody")))[0] == 404
    _, said = await birkelund.system("birkelund-journal").ask("GET", path.format("egedal-care"))
    assert said == {"system": "egedal-care", "certificates": []}


@pytest.mark.requirement("R107")
async def test_a_function_leads_to_the_systems_that_serve_it(birkelund: Place):
    """With the most sensitive that may be sent to it; for those who have nothing to send there it is not there."""
    status, said = await birkelund.system("egedal-care").ask("GET", "/v1/functions/wards")
    assert (status, said["sensitivity"]) == (200, "confidential")
    assert [one["system"] for one in said["systems"]] == ["birkelund-journal"]
    assert (await birkelund.system("egedal-journal").ask("GET", "/v1/functions/wards"))[0] == 404
    assert (await birkelund.system("egedal-care").ask("GET", "/v1/functions/nothing"))[0] == 404
