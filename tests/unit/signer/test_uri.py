import pytest

from dpki.errors import ConfigError
from dpki.signer.uri import FileUri, KeyUri, Pkcs11Uri, parse_key_uri


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
        ("pkcs11:serial=607b;object=k", Pkcs11Uri(object="k", serial="607b")),
        (
            "pkcs11:token=a;object=k?pin-source=/etc/pin&module-path=/x.so",
            Pkcs11Uri("a", "k", module_path="/x.so", pin_source="/etc/pin"),
        ),
        ("pkcs11:token=a?pin-source=file:/a%20pin", Pkcs11Uri("a", pin_source="/a pin")),
        ("pkcs11:token=a?pin-source=file:///etc/pin", Pkcs11Uri("a", pin_source="/etc/pin")),
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
        "pkcs11:token=acme?module-path=x.so",
        "pkcs11:token=acme?pin-source=1234",
        "pkcs11:token=acme?pin-source=|cat /etc/pin",
        "pkcs11:token=acme?pin-source=%7Ccat",
        "pkcs11:token=acme?pin-value=1234",
        "pkcs11:token=acme;pin-value=1234",
        "pkcs11:token=acme;pin-source=/etc/pin",
        f"pkcs11:token={'a' * 33}",
    ],
)
def test_refuses_everything_else(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pkcs11Uri.parse(text)
    assert "1234" not in f"{caught.value.message} {caught.value.hint}", "it may be a PIN"
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("pkcs11:token=a;object=k", Pkcs11Uri("a", "k")),
        ("file:/var/ca%20key.pem", FileUri("/var/ca key.pem")),
        ("file:///var/ca.pem", FileUri("/var/ca.pem")),
    ],
)
def test_keys_are_in_tokens_or_files(text: str, uri: KeyUri) -> None:
    assert parse_key_uri(text) == uri
    assert parse_key_uri(str(uri)) == uri


@pytest.mark.parametrize("text", ["file:", "file:ca.pem", "file://host/ca.pem", "file:/%ff", "/x"])
def test_other_places_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_key_uri(text)
