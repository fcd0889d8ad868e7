"""A pipeline whose layers may be exchanged while it is in use."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from sluiceway.layer import Pipeline
from sluiceway.running import Chain
from sluiceway.telemetry.hub import attached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluiceway.layer import Layer


class PipelineHandle(Pipeline):
    """A pipeline of a file: each call reads its layers when it starts, and finishes with them.

    It is used as any `Pipeline` is, and what was made of it (decorated functions, wrapped clients, pipelines around it)
    goes on with the layers of the file as it is now.

    Args:
        name: of the pipeline.
        layers: outermost first.

    Raises:
        ValueError: the same stateful layer object stands twice in it.
    """

    def __init__(self, name: str, layers: Sequence[Layer]) -> None:  # no super(): its warnings are the file's
        self._chain = Chain(layers, name)
        self.followers = weakref.WeakSet()  # type: ignore[misc]  # of one object, not of the class

    @property
    def in_use(self) -> bool:
        """Whether there are functions, clients or pipelines that it was put around."""
        return bool(self.followers)

    def exchange(self, layers: Sequence[Layer]) -> bool:
        """Go on with *layers* from the next call on; whether they are other objects than before."""
        before = self._chain.layers
        if len(before) == len(layers) and all(old is new for old, new in zip(before, layers, strict=True)):
            return False
        self._chain.parts = tuple(layers)
        self._chain.put_together()
        for chain in list(self.followers or ()):
            chain.put_together()
        if before and layers and before[0] in attached:  # sessions know a pipeline by its outermost layer
            attached[layers[0]] = tuple(dict.fromkeys((*attached.get(layers[0], ()), *attached[before[0]])))
        return True

    def __repr__(self) -> str:
        return f"<pipeline {self.name!r} of a file: {', '.join(map(repr, self.layers))}>"
