"""SCRAM: the published example, and what must be refused."""

from __future__ import annotations

import base64

import pytest

from voxprint.worker.scram import Exchange, ScramError, Verifier, WrongProof

# RFC 7677, section 3.
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
NONCE = f"rOprNGfwEbeRWgbNEkqO{SERVER_NONCE}".encode()
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=" + NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = b"c=biws,r=" + NONCE + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def exchange(password: str = "pencil") -> Exchange:
    return Exchange(Verifier.of(password, salt=SALT), nonce=SERVER_NONCE)


def test_published_example() -> None:
    example = exchange()
    assert example.first(CLIENT_FIRST) == SERVER_FIRST
    assert example.final(CLIENT_FINAL) == SERVER_FINAL


def test_a_wrong_password_is_refused() -> None:
    other = exchange("pencils")
    other.first(CLIENT_FIRST)
    with pytest.raises(WrongProof):
        other.final(CLIENT_FINAL)


def test_an_unknown_user_sees_the_same_salt_each_time_and_never_passes() -> None:
    known = Verifier.of("pencil", iterations=7)
    decoys = [known.decoy("somebody", b"secret") for _ in range(2)]
    assert decoys[0].salt == decoys[1].salt
    assert decoys[0].salt != known.decoy("nobody", b"secret").salt
    assert decoys[0].iterations == known.iterations
    unknown = Exchange(decoys[0], nonce=SERVER_NONCE)
    unknown.first(CLIENT_FIRST)
    with pytest.raises(WrongProof):
        unknown.final(CLIENT_FINAL)


def test_the_client_may_say_that_it_could_bind_the_channel() -> None:
    binding = exchange()
    assert binding.first(b"y" + CLIENT_FIRST[1:]) == SERVER_FIRST
    with pytest.raises(ScramError, match="channel binding"):
        binding.final(CLIENT_FINAL)  # whose c= still says n: somebody changed it on the way


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,,",
        b"n,,r=abc",
        b"n,,n=user",
        b"n,,n=user,r=",
        b"n,,n=user,r=with space",
        b"n,,m=extension,n=user,r=abc",
        b"n,a=other,n=user,r=abc",
        b"p=tls-server-end-point,,n=user,r=abc",
        b"p=tls-unique,,n=user,r=abc",
    ],
)
def test_other_first_messages_are_refused(message: bytes) -> None:
    with pytest.raises(ScramError):
        exchange().first(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"p=",
        CLIENT_FINAL.replace(b"c=biws", b"c=eSws"),
        CLIENT_FINAL.replace(b"k0,", b"k1,"),
        CLIENT_FINAL[:-3] + b"***",
        CLIENT_FINAL[: CLIENT_FINAL.index(b"p=")] + b"p=AAAA",
        CLIENT_FINAL[: CLIENT_FINAL.index(b",p=")],
    ],
)
def test_other_final_messages_are_refused(message: bytes) -> None:
    example = exchange()
    example.first(CLIENT_FIRST)
    with pytest.raises(ScramError):
        example.final(message)


def test_a_verifier_is_written_as_postgresql_writes_it() -> None:
    verifier = Verifier.of("pencil", salt=SALT)
    assert str(verifier).startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert Verifier.parse(str(verifier)) == verifier
    assert "W22" not in repr(verifier)
