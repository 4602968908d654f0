"""SCRAM-SHA-256, the server's half (RFC 5802 with the hash of RFC 7677).

The server keeps a verifier only: it can check a proof, not make one. Channel binding is not
offered, so a client must say ``n`` (it cannot bind) or ``y`` (it could, and believes that we
cannot); ``p=…`` is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

MECHANISM = "SCRAM-SHA-256"
#: Of PBKDF2, as RFC 7677 has it for passwords that people choose.
_ITERATIONS = 4096
_SALT_BYTES = 16
_NONCE_BYTES = 18
_PRINTABLE = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")


class ScramError(Exception):
    """The client's message is not what the protocol says."""


class WrongProof(ScramError):
    """The client does not know the password."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """What the server knows about a password.

    Attributes:
        salt: random bytes.
        iterations: rounds of PBKDF2.
        stored_key: hash of the client's key; checks a proof.
        server_key: signs the server's last message.
    """

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    @classmethod
    def of(
        cls, password: str, *, salt: bytes | None = None, iterations: int = _ITERATIONS
    ) -> Verifier:
        """The verifier of ``password``, which must be ASCII (then SASLprep changes nothing).

        Iterations slow down guessing. A random password of 256 bits needs one only.

        >>> verifier = Verifier.of("pencil", salt=b"0123456789abcdef")
        >>> Verifier.parse(str(verifier)) == verifier
        True
        """
        salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
        salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
        client_key = _hmac(salted, b"Client Key")
        stored_key = hashlib.sha256(client_key).digest()
        return cls(salt, iterations, stored_key, _hmac(salted, b"Server Key"))

    def decoy(self, user: str, secret: bytes) -> Verifier:
        """A verifier that nothing passes, for a user who is not this one.

        It has the same salt each time for the same user, and lets an exchange run to its end,
        so that known and unknown users cannot be told apart.
        """
        salt = _hmac(secret, b"salt:" + user.encode())[:_SALT_BYTES]
        return Verifier(salt, self.iterations, secrets.token_bytes(32), secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """The verifier written as PostgreSQL writes it in ``pg_authid.rolpassword``."""
        mechanism, parameters, keys = text.split("$")
        if mechanism != MECHANISM:
            raise ValueError(f"expected a {MECHANISM} verifier, got {mechanism!r}")
        iterations, salt = parameters.split(":")
        stored_key, server_key = keys.split(":")
        decoded = [base64.b64decode(value) for value in (salt, stored_key, server_key)]
        return cls(decoded[0], int(iterations), decoded[1], decoded[2])

    def __str__(self) -> str:
        """As PostgreSQL writes it."""
        salt, stored, server = (
            base64.b64encode(value).decode()
            for value in (self.salt, self.stored_key, self.server_key)
        )
        return f"{MECHANISM}${self.iterations}:{salt}${stored}:{server}"

    def __repr__(self) -> str:
        """Nothing that helps to guess the password."""
        return "Verifier(...)"


class Exchange:
    """One authentication: :meth:`first`, then :meth:`final`.

    Args:
        verifier: of the user who claims to come.
        nonce: the server's part of the nonce, for tests against published examples.
    """

    def __init__(self, verifier: Verifier, *, nonce: str | None = None) -> None:
        self._verifier = verifier
        own = nonce or base64.b64encode(secrets.token_bytes(_NONCE_BYTES)).decode()
        self._own_nonce = own.encode("ascii")
        self._gs2_header = b""
        self._nonce = b""
        self._signed = b""

    def first(self, message: bytes) -> bytes:
        """Answer ``client-first-message`` with ``server-first-message``.

        Raises:
            ScramError: not such a message, or it asks for channel binding or for another
                identity.
        """
        flag, _, rest = message.partition(b",")
        identity, _, bare = rest.partition(b",")
        if flag not in {b"n", b"y"}:
            raise ScramError("channel binding is not supported")
        if identity:
            raise ScramError("an authorization identity is not supported")
        attributes = bare.split(b",")
        if len(attributes) < 2 or attributes[0][:2] != b"n=" or attributes[1][:2] != b"r=":
            raise ScramError("malformed SCRAM message: expected a user name and a nonce")
        nonce = attributes[1][2:]
        if not _PRINTABLE.fullmatch(nonce):
            raise ScramError("malformed SCRAM message: the nonce is not printable")
        self._gs2_header = flag + b",,"
        self._nonce = nonce + self._own_nonce
        salt = base64.b64encode(self._verifier.salt)
        answer = b"r=%b,s=%b,i=%d" % (self._nonce, salt, self._verifier.iterations)
        self._signed = bare + b"," + answer
        return answer

    def final(self, message: bytes) -> bytes:
        """Answer ``client-final-message`` with ``server-final-message``.

        Raises:
            WrongProof: the client does not know the password.
            ScramError: not such a message, or one of another exchange.
        """
        without_proof, separator, proof_text = message.rpartition(b",p=")
        attributes = without_proof.split(b",")
        if not separator or len(attributes) < 2:
            raise ScramError("malformed SCRAM message: expected a proof")
        if attributes[0] != b"c=" + base64.b64encode(self._gs2_header):
            raise ScramError("the SCRAM channel binding check failed")
        if not hmac.compare_digest(attributes[1], b"r=" + self._nonce):
            raise ScramError("the SCRAM nonce does not match")
        proof = _decode(proof_text)
        signed = self._signed + b"," + without_proof
        signature = _hmac(self._verifier.stored_key, signed)
        if len(proof) != len(signature):
            raise ScramError("malformed SCRAM message: the proof has the wrong length")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        stored_key = hashlib.sha256(client_key).digest()
        if not hmac.compare_digest(stored_key, self._verifier.stored_key):
            raise WrongProof("the password is wrong")
        return b"v=" + base64.b64encode(_hmac(self._verifier.server_key, signed))


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramError("malformed SCRAM message: the proof is not base64") from None


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
