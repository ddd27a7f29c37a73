"""What a gateway may ask of the kernel is what the kernel answers."""

from __future__ import annotations

import inspect

import pytest

from core.asking import Keeper, Kernel, Sink, Staging
from core.kernel import NodeKernel
from core.store import ObjectWriter, Stage, StagedSink


def asked(protocol: type) -> dict[str, inspect.Signature]:
    """The methods of a protocol."""
    return {
        name: inspect.signature(member)
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("protocol", "answers"), [(Kernel, NodeKernel), (Staging, Stage), (Sink, StagedSink), (Keeper, ObjectWriter)]
)
def test_every_question_has_an_answer(protocol: type, answers: type):
    """With the same parameters, by the same names."""
    questions = asked(protocol)
    assert questions
    for name, signature in questions.items():
        found = inspect.signature(getattr(answers, name))
        assert list(found.parameters) == list(signature.parameters), name


def test_a_kernel_has_a_clock_and_desks():
    """Beside its methods."""
    assert set(Kernel.__annotations__) == {"clock", "desks"}
