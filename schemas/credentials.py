"""Seals passwords of VENs on their way from serving to the broker.

Serving creates a password, shows it once, and stores it sealed for ingest, with a key that both share by a
setting. Ingest opens it, applies it at the broker, and erases it. The seal is JWE (RFC 7516): direct
encryption with AES in Galois/counter mode, which also authenticates.
"""

import json

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

HEADER = {"alg": "dir", "enc": "A256GCM"}

NO_KEY = "CREDENTIALS_KEY is not set: set the same for serving and ingest, such as by `openssl rand -hex 32`"


class UnreadablePasswordError(ValueError):
    """A sealed password cannot be opened with this key, or is another VEN's."""


def seal(password: str, ven_id: str, key: bytes) -> str:
    """Encrypt a password, bound to the VEN, for holders of the key."""
    content = json.dumps([ven_id, password]).encode()
    return jwe.encrypt_compact(HEADER, content, OctKey.import_key(key))


def unseal(sealed: str, ven_id: str, key: bytes) -> str:
    """Decrypt the password of a VEN.

    Raises:
        UnreadablePasswordError: it was sealed with another key, or for another VEN, or changed.
    """
    try:
        content = jwe.decrypt_compact(sealed, OctKey.import_key(key)).plaintext
    except (JoseError, ValueError):
        raise UnreadablePasswordError(
            "CREDENTIALS_KEY of ingest is not that of serving: set the same, then rotate the password"
        ) from None
    owner, password = json.loads(content or b"[null, null]")
    if owner != ven_id:
        raise UnreadablePasswordError("the sealed password is another VEN's: rotate it")
    return str(password)
