"""Issuing: sign → tree → seal → publish → anchor → release, so that nothing is lost or doubled.

Everything is decided by pure functions (`plan`, `sealing`) and done in `run`, each step journaled
after it was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from dpki.issuance.authority import verify_signer
from dpki.issuance.bench import Bench
from dpki.issuance.outcome import Outcome
from dpki.issuance.plan import BatchPlan, CertificateRequest
from dpki.issuance.run import Run
from dpki.locks import hold


def rehearse_batch(bench: Bench, requests: Sequence[CertificateRequest]) -> BatchPlan:
    """Return what `issue_batch` would sign now; refuses what it would refuse, changes nothing.

    Raises:
        UsageError, NotAllowed, CheckedFalse, StoreFailed, CouldNotCheck: As for `issue_batch`.
    """
    with ExitStack() as stack:
        run = Run(bench, stack)
        plan = run.plan(requests)
        _verify_means(bench, run, plan, requests)
        return plan


def issue_batch(bench: Bench, requests: Sequence[CertificateRequest]) -> Outcome:
    """Issue one batch, after finishing what an earlier run left behind.

    Everything that can be refused is refused before anything is signed or written.

    Raises:
        UsageError, NotAllowed, CheckedFalse: As `plan_batch` says; nothing changed.
        StoreFailed: The bundles can't be published; where some were signed already, `resume` goes
            on with them.
        TransactionFailed: The batch could not be anchored; `resume` goes on with it.
        CouldNotCheck: The chain could not be read.
    """
    with hold(bench.lock, bench.turn), ExitStack() as stack:
        run = Run(bench, stack)
        _verify_means(bench, run, run.plan(requests), requests)
        run.settle()
        # Planned again: settling may have taken serials.
        run.issue(run.plan(requests))
        run.settle()
        return run.outcome()


def withdraw(bench: Bench, first_serial: int) -> Outcome:
    """Give up a batch that waits for the operator's wallet; what waits behind it is signed anew.

    Whoever has its handover file can still anchor it: then its serials are another writer's.

    Raises:
        UsageError: No waiting batch begins at this serial.
        CouldNotCheck: As for `resume`.
    """
    with hold(bench.lock, bench.turn), ExitStack() as stack:
        run = Run(bench, stack)
        # First what became of it by now: what is anchored can't be withdrawn.
        run.settle()
        run.withdraw(first_serial)
        run.settle()
        return run.outcome()


def resume(bench: Bench) -> Outcome:
    """Finish what an earlier run left behind; the token is opened only to sign anew.

    Raises:
        StoreFailed, TransactionFailed, CouldNotCheck: As for `issue_batch`; can be tried again.
    """
    with hold(bench.lock, bench.turn), ExitStack() as stack:
        run = Run(bench, stack)
        run.settle()
        return run.outcome()


def _verify_means(
    bench: Bench, run: Run, plan: BatchPlan, requests: Sequence[CertificateRequest]
) -> None:
    if any(request.recipient is not None for request in requests):
        bench.publisher.check()
    verify_signer(run.signer(), plan)
