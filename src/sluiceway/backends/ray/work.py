"""What every actor is to do, as it travels to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sluiceway.batch.running import target_of
from sluiceway.batch.templates import Template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluiceway.batch.settings import Settings
    from sluiceway.batch.target import Bind, Target
    from sluiceway.sharing.store import SharedStore

Layers: TypeAlias = "Callable[[SharedStore], Bind]"
"""Makes the layers of one actor, with the store that all of them share."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked, and how; see `run` for each of these.

    Attributes:
        store: the address of a Redis; None for a store within the run.
        model_only: what is given for a model alone: its API's key among it.
    """

    ask: Any
    pipeline: Layers
    template: str | None
    argument: Literal["prompt", "row"]
    model_only: Mapping[str, Any] = field(repr=False)
    settings: Settings
    name: str
    prices: Any
    store: str | None = field(repr=False)

    def target(self, store: SharedStore) -> Target:
        """Make what is asked, with layers of its own that share *store*.

        Raises:
            TypeError: `pipeline` returned something else than layers, or what is asked is neither function nor model.
        """
        layers = self.pipeline(store)
        if not callable(layers):
            raise TypeError(f"pipeline must return a Pipeline or another layer, not {type(layers).__name__}")
        template = None if self.template is None else Template(self.template)
        return target_of(self.ask, layers, template, self.argument, self.model_only)
