"""Passwords of VENs on their way to the broker: who may know them, and what else of them is stored.

Serving makes a password, shows it once, and leaves it for ingest sealed, with a key that both have by a
setting. Ingest opens it, gives it to the broker, and erases it. The seal is JWE (RFC 7516): direct encryption
with AES in Galois/counter mode, which also shows whether it was changed.
"""

import json

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

HEADER = {"alg": "dir", "enc": "A256GCM"}
KEY_BYTES = 32

NO_KEY = "CREDENTIALS_KEY is not set: set the same for serving and ingest, such as by `openssl rand -hex 32`"


class UnreadablePasswordError(ValueError):
    """A sealed password that this key does not open, or that is another VEN's."""


def seal(password: str, ven_id: str, key: bytes) -> str:
    """A password that only holders of the key can read, and for this VEN only."""
    content = json.dumps([ven_id, password]).encode()
    return jwe.encrypt_compact(HEADER, content, OctKey.import_key(key))


def unseal(sealed: str, ven_id: str, key: bytes) -> str:
    """The password of a VEN.

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
