"""Why a batch cannot begin, and what is wrong with a row.

The tree of these errors::

    SluicewayError
    |-- BatchError               the batch cannot begin: nothing was asked, nothing was changed
    |   |-- BatchLocked          another run writes these results
    |   `-- BatchMismatch        the results are there, and were made from something else
    |-- BadRow                   one row of the source is not what it should be: it becomes a dead letter
    `-- NoAnswer                 a model's provider said that all is well, and sent something else than an answer
"""

from __future__ import annotations

from sluiceway.errors import SluicewayError


class BatchError(SluicewayError):
    """The batch cannot begin: nothing was asked and nothing was changed."""


class BatchLocked(BatchError):
    """Another run writes these results: two would answer, and pay for, the same rows."""


class BatchMismatch(BatchError):
    """The results are there already, and were made from another source or with other settings.

    Attributes:
        differences: a sentence each.
    """

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


class NoAnswer(SluicewayError):
    """A model's provider said that all is well (200), and sent no answer: a login page, or an error of its own.

    Attributes:
        status_code: of the error that was sent so, such as 429; None of anything else.
    """

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class BadRow(SluicewayError):
    """One row of the source is not what it should be; the text says why, without the row's own text.

    Attributes:
        kind: `"not JSON"`, `"missing column"`, `"duplicate id"` and so on.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    @classmethod
    def of(cls, error: Exception) -> BadRow:
        """Return what is wrong with a row of which nothing could be made but *error*."""
        return error if isinstance(error, cls) else cls(type(error).__name__, str(error))

    def __reduce__(self) -> tuple[type[BadRow], tuple[str, str]]:
        return type(self), (self.kind, str(self))
