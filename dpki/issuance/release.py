"""Handing out a certificate once it is anchored."""

from __future__ import annotations

from pathlib import Path

from dpki.certificates.ssh import ssh_line
from dpki.chain.domain import Domain
from dpki.errors import DpkiError
from dpki.files import PUBLIC, write_atomic
from dpki.issuance.batch import BatchState, JournaledBatch
from dpki.issuance.sealing import batch_tree
from dpki.verification.proof import CertificateProof, encode_proof, proof_file


def release(batch: JournaledBatch, domain: Domain, serial: int) -> Path | None:
    """Write a certificate and its proof where they were wanted; doing it again changes nothing.

    Returns:
        The certificate's file; None where none was wanted.

    Raises:
        DpkiError: The batch is not anchored, or a file could not be written.
    """
    if batch.state is not BatchState.ANCHORED:
        raise DpkiError(f"serial {serial} is {batch.state.value}, and only anchored ones go out")
    index = serial - batch.first_serial
    journaled = batch.certificates[index]
    if journaled.release is None:
        return None
    tree = batch_tree(domain, batch.authority, batch.first_serial, batch.entries)
    proof = CertificateProof(
        domain.id, batch.authority, serial, tree.path(index, batch.first_serial)
    )
    line = ssh_line(journaled.certificate, journaled.subject)
    # The certificate last: whoever sees it finds its proof beside it.
    write_atomic(proof_file(journaled.release), encode_proof(proof), mode=PUBLIC)
    write_atomic(journaled.release, f"{line}\n".encode(), mode=PUBLIC)
    return journaled.release
