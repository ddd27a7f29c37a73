"""Who may be asked for revocation lists and answers: certificates name addresses, and a certificate may come from a stranger.

Rules:

1. Only hosts and ports that this node's settings name, over http or https, are asked.
2. A name that leads to an address that is not public (loopback, private, link-local, any other special one) is not asked, unless
   the settings name that address or its network too: a name server is not believed about our own networks.
3. Judged is the address that is connected to, not one that was looked up before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from yarl import URL

_ENTRY: Final = re.compile(r"[\w.:\[\]-]+")
_PORTS: Final = (80, 443)
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")


class NotAllowed(ValueError):
    """An address that may not be asked; the words say why."""


class Hosts:
    """The allow-list. Raises `ValueError` for an entry that is none."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._places: set[tuple[str, int]] = set()
        networks = []
        for entry in entries:
            try:
                networks.append(ip_network(entry.strip("[]")))
            except ValueError:
                host, port = _place(entry)
                self._places.update((host, each) for each in ([port] if port else _PORTS))
                address = _address(host)
                if address is not None:
                    networks.append(ip_network(address))
            else:
                if networks[-1].num_addresses == 1:
                    self._places.update((str(networks[-1].network_address), each) for each in _PORTS)
        self._networks = tuple(networks)

    def check(self, text: str) -> URL:
        """The address to ask, as it is asked. Raises `NotAllowed`."""
        try:
            url = URL(text)
            host, port = url.host, url.port
        except ValueError:
            raise NotAllowed("is no address") from None
        if url.scheme not in ("http", "https") or not host or url.user is not None or url.password is not None:
            raise NotAllowed("is no plain http or https address")
        if (host.lower().rstrip("."), port) not in self._places:
            raise NotAllowed(f"{host}:{port} is not in revocation_hosts of gateways.as4 in node.yaml")
        return url.with_fragment(None)

    def reaches(self, text: str) -> bool:
        """Whether an address may be connected to."""
        address = _address(text)
        if address is None:
            return False
        inner = _inner(address)
        return (inner.is_global and not inner.is_multicast) or any(
            one.version == network.version and one in network for one in {address, inner} for network in self._networks
        )


def _place(entry: str) -> tuple[str, int | None]:
    try:
        url = URL(f"http://{entry}")
        host, port = url.host, url.explicit_port
    except ValueError:
        host, port = None, None
    if not host or not _ENTRY.fullmatch(entry):
        raise ValueError(f"{entry!r} is no host, host:port, address or network")
    return host.lower().rstrip("."), port


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
