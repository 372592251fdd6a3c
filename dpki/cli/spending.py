"""What every command that sends has: `--max-fee`, `--gas-limit`, `--yes`, and its turn.

The limits are taken off the command before it runs, and asked for where its transactions are made.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_type_hints

import typer

from dpki.cli.options import YesOption
from dpki.config.amounts import parse_ether
from dpki.locks import Turn

if TYPE_CHECKING:
    from dpki.cli.output import Output
    from dpki.config.admin import AdminConfig

MaximumFee = Annotated[
    str | None,
    typer.Option("--max-fee", metavar="ETHER", help="What one transaction may cost; default 0.2."),
]
GasLimit = Annotated[
    int | None,
    typer.Option("--gas-limit", min=21_000, help="Gas that one transaction may use."),
]

_Command = TypeVar("_Command", bound=Callable[..., None])


@dataclass(frozen=True)
class _Typed:
    maximum_fee: int | None = None
    maximum_gas: int | None = None
    doing: str = "dpki"


_NOTHING = _Typed()
_typed: ContextVar[_Typed] = ContextVar("limits of transactions", default=_NOTHING)


def spends(command: _Command) -> _Command:
    """Give a command the options."""
    signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
    extra: dict[str, Any] = {"max_fee": MaximumFee, "gas_limit": GasLimit}
    # Most ask nothing. They take it all the same: a script needn't know which do.
    asks = "yes" in signature.parameters
    if not asks:
        extra["yes"] = YesOption

    @functools.wraps(command)
    def wrapped(
        *, context: typer.Context, max_fee: str | None, gas_limit: int | None, **given: Any
    ) -> None:
        fee = None if max_fee is None else parse_ether(max_fee)
        if not asks:
            given.pop("yes")
        token = _typed.set(_Typed(fee, gas_limit, context.command_path))
        try:
            command(**given)
        finally:
            _typed.reset(token)

    parameters = [p.replace(annotation=hints[n]) for n, p in signature.parameters.items()]
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name == "yes" else None,
            annotation=annotation,
        )
        for name, annotation in extra.items()
    ]
    options.append(
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    )
    # What typer reads of it.
    vars(wrapped)["__signature__"] = signature.replace(parameters=parameters + options)
    wrapped.__annotations__ = hints | extra | {"context": typer.Context}
    return cast(_Command, wrapped)


def limits(config: AdminConfig) -> dict[str, Any]:
    """Return a sender's limits: those typed, else those configured, else its own."""
    typed, wallet = _typed.get(), config.wallet
    fee = typed.maximum_fee or wallet.maximum_fee
    chosen: dict[str, Any] = {"maximum_gas": typed.maximum_gas or wallet.maximum_gas}
    return chosen if fee is None else chosen | {"maximum_fee": fee}


def turn(output: Output) -> Turn:
    """Return how the command waits for others with the same wallet or home."""
    return Turn(_typed.get().doing, output.notice)
