"""Choice of the steps for a prompt: those of a matching expectation, else of the named model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from .._protocol.errors import ApiError, type_of_status
from .._protocol.items import text_of
from .models import Model, is_named, script
from .prompt import Prompt
from .steps import Call, Fail, Reason, Refuse, Say, Step, words


class Expectation:
    """A prepared reply: "when the input contains X, answer Y".

    `says`, `calls`, `reasons`, `refuses`, `fails` and `rejects` each add a step.
    As a context manager it asserts at the end that it was used `times` times, and is withdrawn.
    """

    def __init__(
        self,
        contains: str | re.Pattern[str] | None,
        model: str | None,
        times: int | None,
        behaviour: Behaviour,
    ) -> None:
        self._contains = contains
        self._model = model
        self._behaviour = behaviour
        self._steps: list[Step] = []
        self._rejection: ApiError | None = None
        self.times = times
        self.prompts: list[Prompt] = []
        """Prompts answered with this reply, in order."""

    def says(self, text: str) -> Self:
        """Add a message."""
        self._steps.append(Say(words(text)))
        return self

    def reasons(self, text: str) -> Self:
        """Add reasoning."""
        self._steps.append(Reason(words(text)))
        return self

    def refuses(self, text: str) -> Self:
        """Add a message that is a refusal."""
        self._steps.append(Refuse(words(text)))
        return self

    def calls(self, tool: str, /, **arguments: Any) -> Self:
        """Add a call of a function tool with these arguments."""
        self._steps.append(Call(tool, json.dumps(arguments)))
        return self

    def calls_custom(self, tool: str, text: str) -> Self:
        """Add a call of a custom tool with this input."""
        self._steps.append(Call(tool, text, custom=True))
        return self

    def fails(self, code: str = "server_error", message: str = "It was scripted to fail.") -> Self:
        """End the response with ``response.failed``."""
        self._steps.append(Fail(code, message))
        return self

    def rejects(self, status: int, code: str | None = None, message: str = "It was scripted so.") -> Self:
        """Refuse the request with an error; no response is created."""
        self._rejection = ApiError(message, status=status, code=code, type=type_of_status(status))
        return self

    @property
    def is_met(self) -> bool:
        """Whether it was used `times` times; if `times` is None, at least once."""
        return len(self.prompts) == self.times if self.times is not None else bool(self.prompts)

    @property
    def shortfall(self) -> str:
        """The difference between the wanted and the actual number of uses, in one sentence."""
        return f"{self!r} was used {len(self.prompts)} times"

    def matches(self, prompt: Prompt) -> bool:
        """Whether this reply applies to a prompt."""
        if self.times is not None and len(self.prompts) >= self.times:
            return False
        if self._model is not None and self._model != prompt.model:
            return False
        if self._contains is None:
            return True
        text = "\n".join(map(text_of, prompt.input))
        if isinstance(self._contains, str):
            return self._contains in text
        return self._contains.search(text) is not None

    def reply(self, prompt: Prompt) -> Iterable[Step]:
        """Record the prompt and return the steps.

        Raises:
            ApiError: `rejects` was called.
        """
        self.prompts.append(prompt)
        if self._rejection is not None:
            raise self._rejection
        return list(self._steps)

    def withdraw(self) -> None:
        """Stop using this reply."""
        self._behaviour.withdraw(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.withdraw()
        if kind is None and not self.is_met:
            raise AssertionError(self.shortfall)

    def __repr__(self) -> str:
        wanted = "at least once" if self.times is None else f"{self.times} times"
        return f"<Expectation input contains {self._contains!r}, {wanted}>"


class Behaviour:
    """Chooses the steps for a prompt."""

    def __init__(self, default_model: str | None = None) -> None:
        self._default_model = default_model
        self._models: dict[str, Model] = {}
        self._expectations: list[Expectation] = []

    def add_model(self, name: str, model: Model) -> None:
        """Use a function as the model of this name."""
        self._models[name] = model

    def expect(
        self, contains: str | re.Pattern[str] | None, *, model: str | None, times: int | None
    ) -> Expectation:
        """Add a reply. Replies are matched in the order in which they were added."""
        expectation = Expectation(contains, model, times, self)
        self._expectations.append(expectation)
        return expectation

    @property
    def unmet(self) -> list[Expectation]:
        """The replies that were not used as often as they should."""
        return [expectation for expectation in self._expectations if not expectation.is_met]

    def withdraw(self, expectation: Expectation) -> None:
        """Remove a reply."""
        if expectation in self._expectations:
            self._expectations.remove(expectation)

    def knows(self, name: str) -> bool:
        """Whether a name stands for a model of its own, not for the default."""
        return name in self._models or self._default_model is not None or is_named(name)

    def steps(self, prompt: Prompt) -> Iterable[Step]:
        """Return the steps for a prompt.

        Raises:
            ApiError: the reply or the model refuses the request.
        """
        for expectation in self._expectations:
            if expectation.matches(prompt):
                return expectation.reply(prompt)
        model = self._models.get(prompt.model)
        return model(prompt) if model else script(prompt, self._default_model)
