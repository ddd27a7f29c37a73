"""Profiles as reviewed values: what we send under them, and what we accept [eD1.15 §1.4.5].

Rules:

1. A profile is data used in both directions; nobody edits it per partner. What an agreement adds is named in the partner's
   file and widens *acceptance* only: we always send the profile's own algorithms.
2. Some algorithms are refused whatever an agreement says (`FORBIDDEN`).
3. What is not listed is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from accesspoint import limits, names


@dataclass(frozen=True, slots=True)
class Profile:
    """A reviewed set of rules. The first algorithm of each tuple is the one we send."""

    name: str
    signatures: tuple[str, ...]
    digests: tuple[str, ...]
    encryptions: tuple[str, ...]
    key_transports: tuple[str, ...]
    oaep_digests: tuple[str, ...] = ()
    mask_functions: tuple[str, ...] = ()
    key_agreements: tuple[str, ...] = ()
    """Where there are any, the key transport is a key wrap under the agreed key, and there is no other."""
    demand_signature: bool = True
    demand_encryption: bool = True
    four_corner: bool = False
    rsa_bits: int = limits.RSA_BITS

    def accepting(self, algorithms: Iterable[str]) -> Profile:
        """This profile, also accepting what an agreement names. Raises `ValueError` for what is never accepted."""
        result = self
        for algorithm in algorithms:
            if algorithm in FORBIDDEN:
                raise ValueError(f"{algorithm} is never accepted")
            field = _KINDS.get(algorithm)
            if field is None:
                raise ValueError(f"{algorithm} is not an algorithm this program knows; known: {', '.join(ALGORITHMS)}")
            if self.key_agreements and field in ("key_transports", "mask_functions"):
                raise ValueError(f"{algorithm} has no place in {self.name}, where the content key is agreed")
            accepted: tuple[str, ...] = getattr(result, field)
            widened: dict[str, Any] = {field: tuple(dict.fromkeys((*accepted, algorithm)))}
            result = replace(result, **widened)
        return result


FORBIDDEN: Final = frozenset(
    {names.RSA_SHA1, names.RSA_1_5, names.XENC + "aes128-cbc", names.XENC + "aes256-cbc", names.XENC + "tripledes-cbc"}
)
"""Never accepted: broken, or with a padding oracle."""

_KINDS: Final = {
    **dict.fromkeys((names.RSA_SHA256, names.RSA_SHA384, names.RSA_SHA512, names.RSA_PSS_SHA256), "signatures"),
    **dict.fromkeys((names.ECDSA_SHA256, names.ED25519), "signatures"),
    **dict.fromkeys((names.SHA256, names.SHA384, names.SHA512), "digests"),
    **dict.fromkeys((names.AES128_GCM, names.AES256_GCM), "encryptions"),
    **dict.fromkeys((names.RSA_OAEP, names.RSA_OAEP_MGF1P), "key_transports"),
    **dict.fromkeys((names.MGF1_SHA1, names.MGF1_SHA256), "mask_functions"),
}

ALGORITHMS: Final = {uri.rpartition("#")[2]: uri for uri in _KINDS}
"""What an agreement may add to a profile, by the short name that people write."""

EDELIVERY_1_15: Final = Profile(
    "edelivery-1.15",
    signatures=(names.RSA_SHA256,),
    digests=(names.SHA256,),
    encryptions=(names.AES128_GCM,),
    key_transports=(names.RSA_OAEP,),
    oaep_digests=(names.SHA256,),
    mask_functions=(names.MGF1_SHA256,),
)
"""eDelivery AS4 1.15 Common Profile."""

EDELIVERY_1_15_FOUR_CORNER: Final = replace(EDELIVERY_1_15, name="edelivery-1.15-four-corner", four_corner=True)
"""The same, with originalSender and finalRecipient demanded [eD1.15 §1.5.1]."""

EDELIVERY_2_0: Final = Profile(
    "edelivery-2.0",
    signatures=(names.ED25519,),
    digests=(names.SHA256,),
    encryptions=(names.AES128_GCM,),
    key_transports=(names.KW_AES128,),
    key_agreements=(names.X25519,),
)
"""eDelivery AS4 2.0 Common Usage Profile: Ed25519; X25519 with HKDF and AES key wrap."""

EDELIVERY_2_0_EC: Final = replace(
    EDELIVERY_2_0, name="edelivery-2.0-ec", signatures=(names.ECDSA_SHA256,), key_agreements=(names.ECDH_ES,)
)
"""Its alternative elliptic curve enhancement: ECDSA and ECDH-ES."""

PROFILES: Final = {p.name: p for p in (EDELIVERY_1_15, EDELIVERY_1_15_FOUR_CORNER, EDELIVERY_2_0, EDELIVERY_2_0_EC)}
"""All profiles by name."""
