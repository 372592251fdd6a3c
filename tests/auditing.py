"""Audits of chains that tests have made."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dpki.audit.index import Index
from dpki.audit.run import AuditReport, audit
from dpki.chain.domain import DOMAIN_CREATED, fetch_domain
from dpki.chain.rpc import Endpoint
from dpki.model import Address, DomainId, Hash32


def audit_chain(url: str, chain_id: int, address: str) -> AuditReport:
    """Audit whatever happened to the domain at this address, up to the newest block."""
    query = {"address": address, "topics": [str(DOMAIN_CREATED)], "fromBlock": "0x0"}
    with Endpoint(url) as endpoint, tempfile.TemporaryDirectory() as folder:
        answer = endpoint.call("eth_getLogs", [query])
        assert isinstance(answer, list)
        block = Hash32.parse(answer[0]["blockHash"])
        domain = fetch_domain(endpoint, DomainId(chain_id, Address.parse(address), block))
        with Index(Path(folder) / "index.sqlite", domain.id) as index:
            return audit(endpoint, domain, index, to="latest")
