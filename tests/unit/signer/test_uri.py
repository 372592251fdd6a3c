import pytest

from dpki.errors import ConfigError
from dpki.signer.uri import Pkcs11Uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("pkcs11:token=acme;object=ssh-user-ca", Pkcs11Uri("acme", "ssh-user-ca")),
        ("PKCS11:object=ca;token=acme", Pkcs11Uri("acme", "ca")),
        ("pkcs11:token=acme;id=%01%ff", Pkcs11Uri("acme", id=b"\x01\xff")),
        ("pkcs11:token=My%20token;object=a%3Bb%25", Pkcs11Uri("My token", "a;b%")),
        ("pkcs11:token=caf%C3%A9", Pkcs11Uri("café")),
        ("pkcs11:token=a;serial=607b;object=k;type=private", Pkcs11Uri("a", "k", serial="607b")),
        (
            "pkcs11:token=a;object=k?module-path=/usr/lib/x.so",
            Pkcs11Uri("a", "k", module_path="/usr/lib/x.so"),
        ),
    ],
)
def test_parse(text: str, uri: Pkcs11Uri) -> None:
    assert Pkcs11Uri.parse(text) == uri
    assert Pkcs11Uri.parse(str(uri)) == uri


def test_canonical_spelling() -> None:
    text = "pkcs11:type=private;id=%01;object=a%20b;serial=5;token=%41cme?module-path=%2Fx%2Fy.so"
    assert str(Pkcs11Uri.parse(text)) == (
        "pkcs11:token=Acme;serial=5;object=a%20b;id=%01?module-path=/x/y.so"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme",
        "pkcs11",
        "pkcs11:",
        "file:/etc/ca.pem",
        "pkcs11:object=ca",
        "pkcs11:token=",
        "pkcs11:token=acme;",
        "pkcs11:token=acme;object",
        "pkcs11:token=acme;object=",
        "pkcs11:token=acme;token=other",
        "pkcs11:token=acme;manufacturer=SoftHSM",
        "pkcs11:token=acme;slot-id=0",
        "pkcs11:token=acme;type=cert",
        "pkcs11:token=acme;object=a b",
        "pkcs11:token=acme;object=%",
        "pkcs11:token=acme;object=%0",
        "pkcs11:token=acme;object=%zz",
        "pkcs11:token=acme;object=%00",
        "pkcs11:token=acme;object=%0a",
        "pkcs11:token=acme;object=%ff",
        "pkcs11:token=acme;object=%20ca",
        "pkcs11:token=acme/;object=ca",
        "pkcs11:token=acme?module-name=softhsm",
        "pkcs11:token=acme?module-path=a&module-path=b",
        "pkcs11:token=acme;module-path=/x.so",
        f"pkcs11:token={'a' * 33}",
    ],
)
def test_refuses_everything_else(text: str) -> None:
    with pytest.raises(ConfigError):
        Pkcs11Uri.parse(text)
