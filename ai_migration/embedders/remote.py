"""The base of embedders that call a vendor's API."""

from __future__ import annotations

import importlib.util
import os
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.core.checks import CheckMessage, Error

from ai_migration.embedders._headers import retry_after
from ai_migration.embedders._too_long import is_too_long
from ai_migration.embedders.base import Embedder
from ai_migration.exceptions import (
    AIMigrationError,
    EmbedderError,
    FatalEmbedderError,
    InputRefusedError,
    MissingDependencyError,
    SettingsError,
    TextTooLongError,
    ThrottledError,
    TransientEmbedderError,
)
from ai_migration.redaction import Address, guard_loggers, redacted, without_texts
from ai_migration.types import EmbedAnswer, Vectors

_PASSING = frozenset({408, 409, 425})
"""Statuses below 500 after which trying again can help."""
_ABOUT_THE_TEXTS = frozenset({400, 413, 422})
_LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class Model:
    """A vendor's model and its limits.

    Attributes:
        dimensions: Default length of its vectors.
        others: Other possible lengths.
        max_input_tokens: Tokens in one text, at most; None: as the embedder says.
        max_batch_tokens: Tokens in one request, at most; None: as the embedder says.
    """

    dimensions: int
    others: Collection[int] = ()
    max_input_tokens: int | None = None
    max_batch_tokens: int | None = None


@dataclass(frozen=True)
class Refusal:
    """A vendor's refusal, as its library reports it.

    Attributes:
        words: The vendor's message.
        status: The HTTP status; None: it did not answer.
        headers: Headers of the answer; names in lower case, or in any case if it does not matter.
        kind: The kind of error, where the status alone does not say; None: by the status.
    """

    words: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: type[EmbedderError] | None = None


class RemoteEmbedder(Embedder):
    """Base of the embedders that call an API through the vendor's library.

    Subclasses implement :meth:`connect`, :meth:`send` and :meth:`refusal`, and call no API
    elsewhere. The library must not retry: the pipeline does.

    Args:
        model: The model, as the vendor names it.
        dimensions: Length of each vector. Default: the model's, where it is a known one.
        api_key: The key. Default: the environment variable ``key_variable``, read at use.
        base_url: Another address of the API. User and password in it are sent as a header.
        concurrency: Requests in flight at once, at most.
        timeout: Seconds to wait for an answer; a cluster of django-q2 has to wait longer.
        max_batch_size: Texts in one request, at most. Default: the vendor's limit, as for
            the next two.
        max_batch_tokens: Tokens in one request, at most.
        max_input_tokens: Tokens in one text, at most.

    Attributes:
        vendor: The name in messages.
        library: The library it needs, as it is imported.
        extra: The extra of this package that installs it.
        key_variable: The environment variable of the key; empty: there is no key.
        models: The known models.

    System checks:
        ``ai_migration.E141``: the library is not installed.
        ``ai_migration.E142``: there is no key.
    """

    is_remote = True
    kept_options: Sequence[str] = (
        *("model", "dimensions", "base_url", "concurrency", "timeout"),
        *("max_batch_size", "max_batch_tokens", "max_input_tokens"),
    )

    vendor: ClassVar[str]
    library: ClassVar[str]
    extra: ClassVar[str]
    key_variable: ClassVar[str] = ""
    models: ClassVar[Mapping[str, Model]] = {}

    def __init__(
        self,
        model: str,
        dimensions: int | None = None,
        *,
        api_key: str = "",
        base_url: str | None = None,
        concurrency: int = 8,
        timeout: float = 30.0,
        max_batch_size: int | None = None,
        max_batch_tokens: int | None = None,
        max_input_tokens: int | None = None,
    ) -> None:
        self._clients: dict[int, Any] = {}
        known = self.models.get(model)
        self._model = model
        self._dimensions = self._checked_dimensions(known, dimensions)
        self._api_key = api_key
        self._address = Address.parse(base_url or "")
        self.concurrency = self._positive("concurrency", concurrency)
        self.timeout = float(self._positive("timeout", timeout))
        for name, asked, of_model in (
            ("max_batch_size", max_batch_size, None),
            ("max_batch_tokens", max_batch_tokens, known and known.max_batch_tokens),
            ("max_input_tokens", max_input_tokens, known and known.max_input_tokens),
        ):
            if asked is not None:
                setattr(self, name, self._positive(name, asked))
            elif of_model is not None:
                setattr(self, name, of_model)

    @property
    def model_id(self) -> str:
        return self._model

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def base_url(self) -> str | None:
        """Another address of the API, without credentials."""
        return self._address.url or None

    @property
    def headers(self) -> dict[str, str]:
        """Headers that are added to the library's own, or replace them."""
        return self._address.headers

    @property
    def key(self) -> str:
        """The key to call the API with; empty: there is none."""
        return (self._api_key or os.environ.get(self.key_variable, "")).strip()

    @property
    def needs_key(self) -> bool:
        """Return whether a key is required. Self-hosted servers often need none."""
        return bool(self.key_variable) and not self.base_url

    def request(self, texts: Sequence[str]) -> EmbedAnswer:
        return self._ask(texts, self.input_type)

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self.request(texts).vectors

    def embed_query(self, query: str) -> Vectors:
        answer = self._ask([query], self.query_type)
        vector: Vectors = self.validated(answer.vectors, 1)[0]
        return vector

    def check(self) -> list[CheckMessage]:
        if not _is_installed(self.library):
            return [Error(self._missing().message, id="ai_migration.E141")]
        if self.needs_key and not self.key:
            return [Error(self._no_key(), id="ai_migration.E142")]
        return []

    def secrets(self) -> Iterator[str]:
        yield self.key
        yield from self._address.secrets

    def close(self) -> None:
        """Close the connections of this process; the next use opens new ones."""
        close = getattr(self._clients.pop(os.getpid(), None), "close", None)
        if close is not None:
            close()

    def __del__(self) -> None:
        if hasattr(self, "_clients"):  # options that were refused left nothing to close
            self.close()

    @abstractmethod
    def connect(self) -> Any:
        """Return the library's client, its retries off; called at the first use in each process.

        Raises:
            ImportError: The library is not installed.
        """

    @abstractmethod
    def send(self, client: Any, texts: Sequence[str], input_type: str) -> EmbedAnswer:
        """Call the API once; may raise any error of the library."""

    @abstractmethod
    def refusal(self, error: Exception) -> Refusal | None:
        """Return the refusal that an exception of the library means; None for other exceptions."""

    def _ask(self, texts: Sequence[str], input_type: str) -> EmbedAnswer:
        try:
            return self.send(self._client(), texts, input_type)
        except AIMigrationError:
            raise
        except Exception as error:
            refusal = self.refusal(error)
            if refusal is None:
                raise
        # Outside of `except`: the library's error holds the request, with key and texts.
        raise self._classified(refusal, texts)

    def _client(self) -> Any:
        """Return the client of this process: connections must not be shared across a fork. No lock,
        which a fork could leave locked; the parent's client is kept so that the child does
        not close its connections."""
        pid = os.getpid()
        if pid not in self._clients:
            if self.needs_key and not self.key:
                raise FatalEmbedderError(self._no_key())
            try:
                self._clients.setdefault(pid, self.connect())
            except ImportError as error:
                raise self._missing() from error
            guard_loggers()  # the library and what it brings are imported now
        return self._clients[pid]

    def _classified(self, refusal: Refusal, texts: Sequence[str]) -> EmbedderError:
        """Return one of the four kinds of errors, by kind or status, without key and texts."""
        status = refusal.status
        words = without_texts(redacted(refusal.words, self.secrets()), texts)
        kind = refusal.kind or kind_of(status, refusal.headers)
        # Some servers answer 500 to it.
        if (kind is InputRefusedError or status == 500) and is_too_long(words):
            kind = TextTooLongError
        if status is None:
            said = "cannot be asked" if kind is FatalEmbedderError else "did not answer"
        else:
            said = f"answered {status}"
        message = f"{self.vendor} {said}: {words}"[:_LONGEST_MESSAGE]
        if kind is ThrottledError:
            return ThrottledError(message, retry_after=retry_after(refusal.headers))
        return kind(message)

    def _checked_dimensions(self, known: Model | None, dimensions: int | None) -> int:
        if dimensions is None:
            if known is None:
                raise SettingsError(
                    f"{type(self).__name__}: the model {self._model!r} is not one of "
                    f"{', '.join(sorted(self.models))}; set the length of its vectors with "
                    f"the option 'dimensions'"
                )
            return known.dimensions
        if known and dimensions != known.dimensions and dimensions not in known.others:
            allowed = (
                f"1 to {known.others[-1]}"
                if isinstance(known.others, range)
                else ", ".join(map(str, sorted({known.dimensions, *known.others})))
            )
            raise SettingsError(
                f"{type(self).__name__}: dimensions is {dimensions!r}; {self._model} has {allowed}"
            )
        return int(self._positive("dimensions", dimensions))

    def _positive(self, name: str, value: Any) -> Any:
        kinds = (int, float) if name == "timeout" else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
            raise SettingsError(
                f"{type(self).__name__}: {name} is {value!r}; use a positive number"
            )
        return value

    def _one_of(self, name: str, value: str, known: Sequence[str]) -> str:
        if value not in known:
            raise SettingsError(
                f"{type(self).__name__}: {name} is {value!r}; use one of {', '.join(known)}"
            )
        return value

    def _missing(self) -> MissingDependencyError:
        return MissingDependencyError(self.library, self.extra, type(self).__name__)

    def _no_key(self) -> str:
        return (
            f"{type(self).__name__} has no key. Set the environment variable "
            f"{self.key_variable}, or the option 'api_key'."
        )


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # of a package that is not there
        return False


def kind_of(status: int | None, headers: Mapping[str, str]) -> type[EmbedderError]:
    """Return which of the four kinds of errors an HTTP status is; None means no answer."""
    if status is None or status in _PASSING:
        return TransientEmbedderError
    if status == 429:
        return ThrottledError
    if status >= 500:
        # 503 with Retry-After asks for patience as a 429 does (RFC 9110, 10.2.3).
        asks = status == 503 and retry_after(headers) is not None
        return ThrottledError if asks else TransientEmbedderError
    return InputRefusedError if status in _ABOUT_THE_TEXTS else FatalEmbedderError
