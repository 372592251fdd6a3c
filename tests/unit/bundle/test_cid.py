from __future__ import annotations

import pytest

from dpki.bundle.cid import cid_of, digest_of, digest_of_cid
from dpki.errors import MalformedInput
from dpki.model import Hash32
from tests.vectors_of import load_vectors


@pytest.mark.parametrize("case", load_vectors("cid")["cases"], ids=lambda case: case["cid"])
def test_vectors(case: dict[str, object]) -> None:
    content, cid = case["content"], case["cid"]
    assert isinstance(content, bytes)
    assert isinstance(cid, str)
    assert digest_of(content) == case["digest"]
    assert cid_of(digest_of(content)) == cid
    assert digest_of_cid(cid) == case["digest"]


def test_empty_content_has_the_cid_that_everybody_knows() -> None:
    # from the multiformats documentation: the raw, empty block
    assert cid_of(digest_of(b"")) == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


CID = cid_of(Hash32(bytes(31) + b"\1"))


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("empty", ""),
        ("upper case", CID.upper()),
        ("padded", CID + "="),
        ("line end", CID + "\n"),
        ("cut off", CID[:-1]),
        ("spare bits set", CID[:-1] + "f"),
        ("version 0", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"),
        ("codec dag-pb", "bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        ("sha2-512", "bafkrg" + "a" * 53),
        ("digit that base32 lacks", CID[:-1] + "1"),
        ("path", "/ipfs/" + CID),
        ("climbing out", "../" + CID),
    ],
)
def test_anything_else_is_refused(why: str, text: str) -> None:
    with pytest.raises(MalformedInput, match="CID"):
        digest_of_cid(text)
