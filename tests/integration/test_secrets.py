"""No secret and no text that was sent is to be read anywhere, whatever a provider, a library or
somebody's own backend says. A provider here repeats all that it was sent."""

from __future__ import annotations

import base64
import logging
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from django.apps import apps
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from ai_migration import migration_service, search
from ai_migration.conf import get_settings
from ai_migration.embedders import embedders
from ai_migration.embedders.hash import HashEmbedder
from ai_migration.exceptions import (
    AIMigrationError,
    FatalEmbedderError,
    InputRefusedError,
    StoreError,
    ThrottledError,
    TransientEmbedderError,
)
from ai_migration.models import MigrationJob
from ai_migration.pace import throttling
from ai_migration.stores import stores
from ai_migration.stores.memory import MemoryStore
from ai_migration.types import CollectionRef, StoreHit, VectorBatch, Vectors
from tests.integration.admin import operator, url
from tests.integration.support import Project, run_slice, start
from tests.testapp.models import Article
from tests.vendors.echo import EchoServer, echoing, write_certificate

pytestmark = [
    pytest.mark.gate,
    pytest.mark.vendors("sqlite"),
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]

HERE = __name__
KEY = "sk-Canary/key+1=of~a_test"
PASSWORD = "Canary:p@ss/w0rd+2"
USER = "an operator"
BODY = 'The patient, "Jane Doe" of Müller\'s Lane 12, was treated for\tscarlet fever in spring.'
QUERY = 'who was treated for scarlet fever in Müller\'s Lane? The "patient" of last spring'
RUN = 20
LOGIN = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
ANSWERS = (400, 401, 403, 429, 500)


def with_login(place: str) -> str:
    login = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"
    return place.replace("://", f"://{login}@")


# What is looked for


def forms(secret: str) -> Iterator[str]:
    """How a secret can be written, for eyes that are no regular expression."""
    yield from (secret, repr(secret)[1:-1], quote(secret, safe=""), quote(secret))
    yield from (quote_plus(secret), quote(secret, safe="").lower())
    for login in (secret, f"{USER}:{secret}", f":{secret}", f"{secret}:"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(login.encode()).decode().rstrip("=")


CANARIES = [form for secret in (KEY, PASSWORD) for form in forms(secret)]


def assert_no_secret(where: str, written: str) -> None:
    for canary in CANARIES:
        at = written.find(canary)
        assert at < 0, f"{where} shows {canary!r}: …{written[max(0, at - 300) : at + 100]}…"


def assert_no_text(where: str, written: str) -> None:
    for text in (BODY, QUERY):
        for form in (text, repr(text)[1:-1], text.replace('"', '\\"').replace("\t", "\\t")):
            for at in range(len(form) - RUN):
                run = form[at : at + RUN]
                assert run not in written, f"{where} shows {run!r}"


# Where it is looked for


def printed(error: BaseException) -> str:
    return f"{error!s} {error!r} {''.join(traceback.format_exception(error))}"


def tables() -> Iterator[tuple[str, str]]:
    """Every row of ours: errors, events, failures, the queue, what throttles."""
    for model in apps.get_app_config("ai_migration").get_models():
        yield model.__name__, repr(list(model._default_manager.values()))


def commands(job: str) -> Iterator[tuple[str, str]]:
    calls: list[list[str]] = [["doctor"], ["jobs"], ["entities"], ["search", "article", QUERY]]
    for arguments in [*calls, ["show", job]]:
        for more in ([], ["--json"]):
            output = StringIO()
            try:
                call_command("ai_migration", *arguments, *more, stdout=output, stderr=output)
            except SystemExit:
                pass
            except Exception as error:
                output.write(printed(error))
            yield f"ai_migration {arguments[0]} {more}", output.getvalue()
    output = StringIO()
    with suppress(SystemCheckError):
        call_command("check", stdout=output, stderr=output)
    yield "check", output.getvalue()


def pages(job: str) -> Iterator[tuple[str, str]]:
    client = operator("view", "start", "control")
    names = ["dashboard", "dashboard_panel", "dashboard_coverage"]
    names += [f"{each}_changelist" for each in ("migrationjob", "entityfailure", "ratelimitstate")]
    addresses = [url(name) for name in names if name != "dashboard"]
    addresses += [url(f"migrationjob_{page}", job) for page in ("change", "panel")]
    for address in addresses:
        yield address, client.get(address).content.decode()


def answers(job: str, settings: Any) -> Iterator[tuple[str, str]]:
    rest = pytest.importorskip("tests.integration.rest")
    settings.ROOT_URLCONF = "tests.rest_urls"
    api = rest.Api(*rest.ALL, name="caller")
    paths = [f"jobs/{job}{part}" for part in ("", "/events", "/failures")]
    for path in ("jobs", "entities", *paths):
        yield path, api.get(path).content.decode()
    body = {"entityType": "article", "query": QUERY}
    yield "search", api.post("search", body).content.decode()
    settings.ROOT_URLCONF = "tests.urls"


def look_everywhere(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    [job] = MigrationJob.objects.order_by("pk").values_list("pk", flat=True)[:1]
    said = [
        *tables(),
        *commands(job),
        *pages(job),
        *answers(job, settings),
        ("settings", f"{get_settings()} {get_settings()!r}"),
        ("backends", f"{embedders['default']} {embedders['default']!r} {stores['default']!r}"),
    ]
    for where, written in said:
        assert_no_secret(where, written)
        assert_no_text(where, written)
    assert_no_secret("the log", caplog.text)
    ours = [record for record in caplog.records if record.name.startswith(("ai_mig", "django"))]
    for record in ours:
        assert_no_text("our log", logging.Formatter().format(record))


# What fails


def ask_and_fail() -> None:
    """A job and a search, both of which the provider or the store refuses."""
    job = MigrationJob.objects.filter(status="RUNNING").first() or start()
    run_slice(seconds=5.0)
    with pytest.raises(AIMigrationError) as caught:
        search("article", QUERY)
    assert_no_secret("search", printed(caught.value))
    assert_no_text("search", printed(caught.value))
    migration_service.cancel_migration(job.pk)


@pytest.fixture
def article(project: Project, caplog: pytest.LogCaptureFixture) -> Project:
    """One row, and every logger says all it has to say."""
    project.set(MAX_ATTEMPTS=1, DEFAULT_RATE_LIMIT=None)
    Article.objects.create(title="Diary", body=BODY)
    caplog.set_level(logging.DEBUG)
    for name in ("asyncio", "faker"):
        caplog.set_level(logging.WARNING, name)
    return project


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with echoing() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("cryptography")
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def untrusted(certificate: Path) -> Iterator[EchoServer]:
    """One with a certificate that is wrong, unless somebody trusts it."""
    with echoing(certificate) as server:
        yield server


@pytest.fixture
def nowhere() -> str:
    """Where nobody listens."""
    with EchoServer() as gone:
        return f"http://{gone.place}"


@dataclass(frozen=True)
class Vendor:
    """A built-in embedder.

    Attributes:
        backend: In ``ai_migration.embedders``.
        library: What it needs.
        options: Of it.
        path: Of the address in its option ``place``.
        place: The option that has the address.
        key: The option that has the key; empty: there is none.
        variables: Of the environment, with secrets in them.
        is_secure: Whether it sends them only by TLS.
    """

    backend: str
    library: str
    options: Mapping[str, Any]
    path: str = ""
    place: str = "base_url"
    key: str = "api_key"
    variables: Sequence[str] = ()
    is_secure: bool = False


VENDORS = {
    "openai": Vendor(
        "openai.OpenAIEmbedder",
        "openai",
        {"model": "ours", "dimensions": 8},
        "/v1",
        variables=["OPENAI_API_KEY"],
    ),
    "azure": Vendor(
        "openai.AzureOpenAIEmbedder",
        "openai",
        {"model": "text-embedding-3-small", "dimensions": 8},
        place="endpoint",
        variables=["AZURE_OPENAI_API_KEY"],
    ),
    "voyage": Vendor(
        "voyage.VoyageEmbedder",
        "openai",
        {"model": "voyage-4"},
        "/v1",
        variables=["VOYAGE_API_KEY"],
    ),
    "mistral": Vendor(
        "mistral.MistralEmbedder",
        "openai",
        {"model": "mistral-embed"},
        "/v1",
        variables=["MISTRAL_API_KEY"],
    ),
    "cohere": Vendor(
        "cohere.CohereEmbedder", "cohere", {"model": "embed-v4.0"}, variables=["CO_API_KEY"]
    ),
    "google": Vendor(
        "google.GoogleEmbedder",
        "google.genai",
        {"model": "gemini-embedding-001"},
        variables=["GEMINI_API_KEY"],
    ),
    "bedrock": Vendor(
        "bedrock.BedrockEmbedder",
        "boto3",
        {"model": "amazon.titan-embed-text-v2:0", "region": "eu-west-1"},
        key="",
        variables=["AWS_BEARER_TOKEN_BEDROCK"],
        is_secure=True,
    ),
    "bedrock, signed": Vendor(
        "bedrock.BedrockEmbedder",
        "boto3",
        {"model": "amazon.titan-embed-text-v2:0", "region": "eu-west-1"},
        key="",
        variables=["AWS_SESSION_TOKEN"],
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "openai" else pytest.mark.gate) for name in VENDORS],
)
def test_what_a_provider_repeats(
    name: str,
    article: Project,
    server: EchoServer,
    untrusted: EchoServer,
    nowhere: str,
    certificate: Path,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vendor = VENDORS[name]
    pytest.importorskip(vendor.library, reason=f"needs the library {vendor.library}")
    for variable in [each for each in os.environ if each.startswith(("OPENAI", "AWS", "GOOGLE"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def ask_at(place: str, **options: str) -> None:
        options[vendor.place] = place + vendor.path
        path = f"ai_migration.embedders.{vendor.backend}"
        backend = {"BACKEND": path, "OPTIONS": {**vendor.options, **options}}
        article.set(EMBEDDERS={"default": backend})
        ask_and_fail()

    for variable in vendor.variables:
        monkeypatch.setenv(variable, KEY)
    ask_at(nowhere)
    ask_at(f"https://{untrusted.place}")
    if vendor.is_secure:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    asked = untrusted if vendor.is_secure else server
    place = f"https://{asked.place}" if vendor.is_secure else f"http://{asked.place}"
    for asked.status in ANSWERS:
        ask_at(place)
    assert KEY in str(asked.headers)
    if vendor.key:
        for variable in vendor.variables:
            monkeypatch.delenv(variable)
        for asked.status in (401, 500):
            ask_at(place, **{vendor.key: KEY})
            ask_at(with_login(place), **{vendor.key: KEY})
        assert asked.headers["authorization"] == LOGIN
        ask_at(with_login(nowhere))
        ask_at(with_login(f"https://{untrusted.place}"))
    look_everywhere(settings, caplog)


def test_what_qdrant_repeats(
    article: Project,
    server: EchoServer,
    untrusted: EchoServer,
    nowhere: str,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("qdrant_client", reason="needs qdrant-client")
    from tests.qdrant_server import QdrantServer

    def use(place: str) -> None:
        article.store("ai_migration.stores.qdrant.QdrantStore", url=with_login(place), api_key=KEY)

    with QdrantServer().running() as good:

        def start_well() -> None:
            use(f"http://{server.place}")
            server.otherwise = good.handle
            start()
            server.otherwise = None

        for status in ANSWERS:
            start_well()
            server.status = status
            ask_and_fail()
            with pytest.raises(StoreError) as caught:
                start(rebuild=True)
            assert_no_secret("start", printed(caught.value))
        for place in (nowhere, f"https://{untrusted.place}"):
            start_well()
            use(place)
            ask_and_fail()
    assert (server.headers["api-key"], server.headers["authorization"]) == (KEY, LOGIN)
    look_everywhere(settings, caplog)


# Backends of one's own, that say all they know


@dataclass(frozen=True)
class Told:
    """What an embedder or a store of one's own is to raise."""

    fault: str = ""
    secrets: Sequence[str] = field(default=(), repr=False)

    def fail(self, texts: Sequence[str] = ()) -> None:
        said = " ".join((*self.secrets, *map(repr, self.secrets)))
        said = f"{said} {quote(said)} {texts[0][:100] if texts else ''}"
        raw = ValueError(f"cannot embed {said}")
        raw.add_note(said)
        match self.fault:
            case "raw":
                raise raw
            case "lost":
                raise ConnectionError(said)
            case "input":
                raise InputRefusedError(said)
            case "fatal":
                raise FatalEmbedderError(said) from raw
            case "transient":
                raise TransientEmbedderError(said)
            case "throttled":
                raise ThrottledError(said, retry_after=3600) from raw
            case "stubborn":
                raise StubbornError(said)
            case "store":
                raise StoreError(said) from raw


class StubbornError(FatalEmbedderError):
    """It has words of its own."""

    def __init__(self, said: str) -> None:
        super().__init__("nothing")
        self.said = said

    def __str__(self) -> str:
        return self.said


class OwnEmbedder(HashEmbedder):
    """It knows its key from deep in its options, from an address, or from the environment."""

    fault = ""

    def __init__(self, way: str = "", **options: Any) -> None:
        super().__init__(8)
        self._way, self._options = way, options

    def secrets(self) -> list[str]:
        return [os.environ.get("OWN_KEY", "")]

    def embed(self, texts: Sequence[str]) -> Vectors:
        Told(type(self).fault, _known(self._way, self._options)).fail(texts)
        return super().embed(texts)


def _known(way: str, options: Any) -> list[str]:
    if way == "environment":
        return [os.environ["OWN_KEY"]]
    if way == "address":
        return [options["url"], f"{USER}:{PASSWORD}", PASSWORD]
    if way == "header":
        header = options["http"]["headers"]["Authorization"]
        return [header, header.split()[1]]
    return [options["servers"][0]["auth"]["value"]]


OWN: dict[str, dict[str, Any]] = {
    "environment": {},
    "address": {"url": with_login("http://127.0.0.1/")},
    "header": {"http": {"headers": {"Authorization": f"Bearer {KEY}", "X-Of": "us"}}},
    "nested": {"servers": [{"auth": {"value": KEY}}]},
}


@pytest.mark.gate
@pytest.mark.parametrize(
    "fault", ["raw", "lost", "input", "fatal", "transient", "throttled", "stubborn"]
)
def test_what_an_embedder_of_ones_own_says(
    fault: str,
    article: Project,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OWN_KEY", KEY)
    monkeypatch.setattr(OwnEmbedder, "fault", fault)
    for way, options in OWN.items():
        backend = {"BACKEND": f"{HERE}.OwnEmbedder", "OPTIONS": {"way": way, **options}}
        article.set(EMBEDDERS={"default": backend})
        ask_and_fail()
    look_everywhere(settings, caplog)


class OwnStore(MemoryStore):
    """Its password stands in the environment."""

    fault = ""

    def secrets(self) -> list[str]:
        return [os.environ["OWN_KEY"]]

    def upsert(self, collection: CollectionRef, batch: VectorBatch) -> None:
        Told(self.fault, self.secrets()).fail()

    def count(self, collection: CollectionRef) -> int:
        Told(self.fault, self.secrets()).fail()
        return super().count(collection)

    def search(self, *args: Any, **kwargs: Any) -> list[StoreHit]:
        Told(self.fault, self.secrets()).fail()
        return []


def test_what_a_store_of_ones_own_says(
    article: Project,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OWN_KEY", PASSWORD)
    article.store(f"{HERE}.OwnStore")
    for fault in ("raw", "lost", "store"):
        monkeypatch.setattr(OwnStore, "fault", "")
        start()
        monkeypatch.setattr(OwnStore, "fault", fault)
        ask_and_fail()
        with pytest.raises(StoreError) as caught:
            start(rebuild=True)
        assert_no_secret("start", printed(caught.value))
    look_everywhere(settings, caplog)


class Talkative:
    """What THROTTLE names."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        self._credentials = credentials

    def __call__(self) -> str:
        return f"{self._credentials['login']} says that it is too busy"


def test_why_a_throttle_holds_a_job(
    article: Project,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throttling, "_throttles", None)
    options = {"credentials": {"login": PASSWORD}}
    article.set(THROTTLE=[{"BACKEND": f"{HERE}.Talkative", "OPTIONS": options}])
    job = start()
    run_slice(seconds=5.0)
    job.refresh_from_db()
    assert job.throttle_reason == "*** says that it is too busy"
    look_everywhere(settings, caplog)
