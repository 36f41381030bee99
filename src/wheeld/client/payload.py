"""The arguments of a handler as a payload and back: JSON by msgspec, never pickle.

Owns: the form {"args": [...], "kwargs": {...}}, and the conversion of arguments to what the handler's annotations
say. Invariant: bytes from the network are only ever read as JSON.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import msgspec

CONTEXT_PARAMETER: Final = "ctx"
_ENCODER: Final = msgspec.json.Encoder()


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    args: list[Any] = msgspec.field(default_factory=list)
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)


_DECODER: Final = msgspec.json.Decoder(_Arguments)


def encode_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The payload of a call."""
    if kwargs:
        return _ENCODER.encode({"args": args, "kwargs": kwargs})
    return _ENCODER.encode({"args": args})


def encode_result(value: Any) -> bytes:
    """What a handler returned; None is nothing."""
    return b"" if value is None else _ENCODER.encode(value)


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:
        return None


class Arguments:
    """Reads payloads for one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        signature = _signature(function)
        parameter = None if signature is None else signature.parameters.get(CONTEXT_PARAMETER)
        self.wants_context = parameter is not None and parameter.kind is inspect.Parameter.KEYWORD_ONLY

    @cached_property
    def _plan(self) -> tuple[list[Any], Any, dict[str, Any], Any]:
        """Types of the positional parameters, of *args, of the named ones, of **kwargs; Any where nothing is said."""
        signature = _signature(self._function)
        if signature is None:
            return [], Any, {}, Any
        try:
            hints = typing.get_type_hints(self._function, include_extras=True)
        except (NameError, TypeError):
            # Names that exist for the type checker only: the arguments stay as JSON gave them.
            hints = {}
        positional: list[Any] = []
        rest: Any = Any
        named: dict[str, Any] = {}
        named_rest: Any = Any
        for parameter in signature.parameters.values():
            hint = hints.get(parameter.name, Any)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                rest = hint
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                named_rest = hint
            else:
                if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                    positional.append(hint)
                named[parameter.name] = hint
        return positional, rest, named, named_rest

    def decode(self, payload: bytes) -> tuple[list[Any], dict[str, Any]]:
        """The arguments that `payload` holds; msgspec.ValidationError or DecodeError when it does not fit."""
        if not payload:
            return [], {}
        arguments = _DECODER.decode(payload)
        if CONTEXT_PARAMETER in arguments.kwargs and self.wants_context:
            raise msgspec.ValidationError(f"the payload may not set {CONTEXT_PARAMETER!r}")
        positional, rest, named, named_rest = self._plan
        args = [
            msgspec.convert(value, positional[at] if at < len(positional) else rest)
            for at, value in enumerate(arguments.args)
        ]
        kwargs = {name: msgspec.convert(value, named.get(name, named_rest)) for name, value in arguments.kwargs.items()}
        return args, kwargs
