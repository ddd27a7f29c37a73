"""Sealed payloads: octets that only the holders of named certificates can read, in CMS.

`core.seal.sealing` writes them, `core.seal.opening` reads them, `core.seal.header` says of the first octets what they are and
for whom: that is all the kernel ever does with a payload between its sender and its receiver. `core.seal.files` does the first
two with files.

Rules:

1. Structures are read and written by `asn1crypto`, cryptography is `cryptography`'s. Ours is the framing, because neither
   streams: one chunk is all that is ever held, whatever the size.
2. We write authenticated encryption (AES-256-GCM, RFC 5083 and 5084) under RSAES-OAEP or ephemeral-static ECDH (RFC 5753).
   AES-256-CBC is there for openers that know no other, and has to be asked for.
3. We read what `openssl cms` writes as well. What is weak is refused by name; RSA PKCS#1 v1.5 is opened without an oracle.
4. What is not sealed as it should be is a `SealError` that names the field and the cause. None holds key material.
"""
