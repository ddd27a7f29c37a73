"""Every namespace, URI and constant of the wire, by name. Compared as opaque strings, case-sensitive."""

from __future__ import annotations

from functools import cache
from typing import Final

# --- XML namespaces
S12: Final = "http://www.w3.org/2003/05/soap-envelope"
S11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
EB: Final = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
EBBP: Final = "http://docs.oasis-open.org/ebxml-bp/ebbp-signals-2.0"
MF: Final = "http://docs.oasis-open.org/ebxml-msg/ns/v3.0/mf/2010/04/"
WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
WSSE11: Final = "http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
XENC: Final = "http://www.w3.org/2001/04/xmlenc#"
XENC11: Final = "http://www.w3.org/2009/xmlenc11#"
DSIG11: Final = "http://www.w3.org/2009/xmldsig11#"
DSIG_MORE: Final = "http://www.w3.org/2021/04/xmldsig-more#"
EC: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
SBDH: Final = "http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader"
XML: Final = "http://www.w3.org/XML/1998/namespace"

# --- ebMS values
INITIATOR: Final = EB + "initiator"
RESPONDER: Final = EB + "responder"
DEFAULT_MPC: Final = EB + "defaultMPC"
TEST_SERVICE: Final = EB + "service"
TEST_ACTION: Final = EB + "test"
EBMS_ACTOR: Final = "ebms"
NEXT_MSH: Final = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/part2/200811/nextmsh"

# --- part properties [AS4 §3.1]
MIME_TYPE: Final = "MimeType"
CHARACTER_SET: Final = "CharacterSet"
COMPRESSION_TYPE: Final = "CompressionType"
GZIP: Final = "application/gzip"

# --- four-corner properties [eD1.15 §1.5.1]
ORIGINAL_SENDER: Final = "originalSender"
FINAL_RECIPIENT: Final = "finalRecipient"
TRACKING_IDENTIFIER: Final = "trackingIdentifier"

# --- what communities agree on: Peppol AS4, ENTSOG AS4
AS4_ACTION: Final = "http://docs.oasis-open.org/ebxml-msg/as4/200902/action"
PARTICIPANTS: Final = "iso6523-actorid-upis"
PEPPOL_PARTY: Final = "urn:fdc:peppol.eu:2017:identifiers:ap"
PEPPOL_AGREEMENT: Final = "urn:fdc:peppol.eu:2017:agreements:tia:ap_provider"
PEPPOL_PROCESSES: Final = "cenbii-procid-ubl"
PEPPOL_NOT_SERVICED: Final = "PEPPOL:NOT_SERVICED"
EIC_PARTY: Final = "http://www.entsoe.eu/eic-codes/eic-party-codes-x"
EDIGAS_SERVICE: Final = "http://edigas.org/service"
EDIGAS_DOCUMENT_TYPE: Final = "EDIGASDocumentType"

# --- algorithms
SHA1: Final = DS + "sha1"
SHA256: Final = XENC + "sha256"
SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"
SHA512: Final = XENC + "sha512"
RSA_SHA1: Final = DS + "rsa-sha1"
RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"
RSA_SHA512: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
RSA_PSS_SHA256: Final = "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"
ECDSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
ED25519: Final = DSIG_MORE + "eddsa-ed25519"
EXC_C14N: Final = EC
SWA: Final = "http://docs.oasis-open.org/wss/oasis-wss-SwAProfile-1.1"
ATTACHMENT_SIGNATURE: Final = SWA + "#Attachment-Content-Signature-Transform"
ATTACHMENT_CIPHERTEXT: Final = SWA + "#Attachment-Ciphertext-Transform"
ATTACHMENT_CONTENT_ONLY: Final = SWA + "#Attachment-Content-Only"
AES128_GCM: Final = XENC11 + "aes128-gcm"
AES256_GCM: Final = XENC11 + "aes256-gcm"
RSA_OAEP: Final = XENC11 + "rsa-oaep"
RSA_OAEP_MGF1P: Final = XENC + "rsa-oaep-mgf1p"
RSA_1_5: Final = XENC + "rsa-1_5"
KW_AES128: Final = XENC + "kw-aes128"
X25519: Final = DSIG_MORE + "x25519"
ECDH_ES: Final = XENC11 + "ECDH-ES"
HKDF: Final = DSIG_MORE + "hkdf"
HMAC_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"
MGF1_SHA1: Final = XENC11 + "mgf1sha1"
MGF1_SHA256: Final = XENC11 + "mgf1sha256"

# --- key references
X509_PROFILE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0"
X509V3: Final = X509_PROFILE + "#X509v3"
X509_PKI_PATH: Final = X509_PROFILE + "#X509PKIPathv1"
X509_SKI: Final = X509_PROFILE + "#X509SubjectKeyIdentifier"
SOAP_SECURITY: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0"
BASE64: Final = SOAP_SECURITY + "#Base64Binary"
SOAP_SECURITY_11: Final = "http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1"
THUMBPRINT_SHA1: Final = SOAP_SECURITY_11 + "#ThumbprintSHA1"
ENCRYPTED_KEY_TOKEN: Final = SOAP_SECURITY_11 + "#EncryptedKey"


@cache
def tag(namespace: str, local: str) -> str:
    """``{namespace}local``, the way lxml names elements."""
    return f"{{{namespace}}}{local}"
