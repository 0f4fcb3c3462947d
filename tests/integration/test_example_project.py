"""The example project, in processes of its own: what a newcomer runs first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ai_migration.entities.config.file import load_config
from ai_migration.entities.config.schema import Section, inert_keys
from tests.commands import ROOT
from tests.databases import Databases

MANAGE = ROOT / "example_project" / "manage.py"
INTROSPECT = ROOT / "example_project" / "pydocs" / "introspect.py"


@dataclass(frozen=True)
class Example:
    """`example_project/manage.py` on a database of its own."""

    url: str

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command; a non-zero exit is no error here."""
        environment = {**os.environ, **environ, "DATABASE_URL": self.url}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        return subprocess.run(
            [sys.executable, str(MANAGE), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def values(self, expression: str) -> Any:
        """The value of an expression over the models, by way of JSON."""
        code = f"import json; from catalog.models import *; from pydocs.models import *\n\
print(json.dumps({expression}, default=str))"
        done = self("shell", "--no-imports", "-c", code)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    file = tmp_path_factory.mktemp("example") / "template.sqlite3"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_example(sqlite_template: Path, tmp_path: Path) -> Example:
    """On SQLite only, for what no database has a part in."""
    return _copied(sqlite_template, tmp_path / "example.sqlite3")


@pytest.fixture(params=("sqlite", "postgresql"))
def example(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Example]:
    """The example project on a migrated database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_example")
        return
    url = databases.postgres.create("example")
    try:
        _migrate(url)
        yield Example(url)
    finally:
        databases.postgres.drop("example")


def _migrate(url: str) -> None:
    done = Example(url)("migrate", "-v0")
    assert done.returncode == 0, done.stderr


def _copied(template: Path, file: Path) -> Example:
    shutil.copyfile(template, file)
    return Example(f"sqlite:///{file}")


def read(package: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the reader of documentation by itself, as the commands do."""
    environment = {**os.environ, "PYTHONPATH": str(path) if path else "", "SECRET_WORD": "xyzzy"}
    return subprocess.run(
        [sys.executable, "-P", str(INTROSPECT), package],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.gate
def test_the_standard_library_has_6000_entries_without_secrets_and_always_the_same() -> None:
    first = read("stdlib")
    docs = json.loads(first.stdout)
    names = [doc["qualified_name"] for doc in docs]
    assert len(docs) > 6000
    assert names == sorted(set(names))
    assert {"gzip.compress", "zipfile.ZipFile.extractall", "os.path.join"} <= set(names)
    assert {doc["kind"] for doc in docs} == {"module", "class", "function", "method", "property"}
    assert all(doc["summary"] and doc["docstring"] for doc in docs)
    assert not [name for name in names if name.startswith(("antigravity", "this.", "idlelib"))]
    assert " at 0x" not in first.stdout
    # Defaults of parameters can be anything, such as os.environ.
    assert "xyzzy" not in first.stdout
    assert read("stdlib").stdout == first.stdout


def test_what_a_package_does_when_imported_does_no_harm(tmp_path: Path) -> None:
    package = tmp_path / "unruly"
    package.mkdir()
    (package / "__init__.py").write_text(
        'import os\nprint("from python")\nos.write(1, b"from the system")\n'
        'def good():\n    """It is documented."""\n'
        'class Lazy:\n    def __getattr__(self, name): raise RuntimeError("not configured")\n'
        "lazy = Lazy()\n"
    )
    (package / "leaves.py").write_text("raise SystemExit(3)\n")
    (package / "fails.py").write_text("import no_such_module\n")
    (package / "warns.py").write_text(
        'import warnings\nwarnings.warn("old", DeprecationWarning)\n'
        # Assigned, because Python 3.13 does not compile such a docstring.
        "def also(x=object(), y=1): pass\n"
        'also.__doc__ = "Documented \\ud800 too.\\n\\n    At length."\n'
    )
    (package / "__main__.py").write_text("raise SystemExit(4)\n")
    done = read("unruly", tmp_path)
    docs = {doc["qualified_name"]: doc for doc in json.loads(done.stdout)}
    assert (done.returncode, set(docs)) == (0, {"unruly.good", "unruly.warns.also"})
    assert docs["unruly.warns.also"]["signature"] == "(x=..., y=1)"
    assert docs["unruly.warns.also"]["summary"] == "Documented ? too."


@pytest.mark.gate
def test_loading_again_writes_only_what_differs(example: Example) -> None:
    first = example("load_pydocs")
    assert first.returncode == 0, first.stderr
    count = example.values("DocEntry.objects.count()")
    assert count > 6000
    assert f"{count:,} new" in first.stdout
    assert "nothing changed" in example("load_pydocs").stdout
    example.values(
        "[DocEntry.objects.filter(qualified_name='gzip.compress').update(summary='old'),"
        " DocEntry.objects.filter(qualified_name='gzip.open').delete()[0],"
        " DocEntry.objects.create(qualified_name='gzip.gone', package='stdlib').pk]"
    )
    assert "1 new, 1 changed, 1 removed" in example("load_pydocs").stdout
    assert example.values("DocEntry.objects.count()") == count
    repaired = example.values("DocEntry.objects.get(qualified_name='gzip.compress').summary")
    assert repaired.startswith("Compress data")


@pytest.mark.gate
def test_a_package_is_added_by_its_import_name(sqlite_example: Example) -> None:
    done = sqlite_example("load_pydocs", "--package", "rich")
    assert done.returncode == 0, done.stderr
    names = sqlite_example.values(
        "list(DocEntry.objects.filter(package='rich').values_list('qualified_name', flat=True))"
    )
    assert "rich.table.Table" in names
    assert all(name.split(".")[0] == "rich" for name in names)


@pytest.mark.gate
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("no_such_package", "No package 'no_such_package' is installed"),
        ("../etc", "No package '../etc' is installed"),
        ("", "No package '' is installed"),
        ("rich.no_such_module", "'rich.no_such_module' cannot be imported"),
        ("ruamel.yaml.no", "cannot be imported"),
        ("django-stubs-ext", "name what it imports as: django_stubs_ext"),
    ],
)
def test_an_unknown_package_has_a_clear_answer(
    sqlite_example: Example, name: str, answer: str
) -> None:
    done = sqlite_example("load_pydocs", "--package", name)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert answer in done.stderr


@pytest.mark.gate
def test_products_and_orders_are_the_same_for_the_same_seed(
    example: Example, sqlite_template: Path, tmp_path: Path
) -> None:
    other = _copied(sqlite_template, tmp_path / "other.sqlite3")
    assert example("seed_catalog", "--products", "300", "--orders", "40").returncode == 0
    # In two steps it comes to the same.
    assert other("seed_catalog", "--products", "120").returncode == 0
    assert other("seed_catalog", "--products", "300", "--orders", "40").returncode == 0
    products = "list(Product.objects.order_by('sku').values_list('sku', 'name', 'description', \
'brand', 'price', 'category__slug', 'attributes', 'is_active', 'created_at', 'updated_at'))"
    orders = "list(Order.objects.order_by('number', 'lines__id').values_list('number', \
'customer_name', 'status', 'note', 'created_at', 'lines__product__sku', 'lines__quantity'))"
    seen = example.values(products)
    assert len(seen) == 300
    assert seen == other.values(products)
    assert example.values(orders) == other.values(orders)
    lengths = sorted(len(row[1]) + len(row[2]) for row in seen)
    assert 250 < lengths[len(lengths) // 2] < 350
    assert len({row[2] for row in seen}) == 300


@pytest.mark.gate
def test_seeding_again_adds_only_what_is_missing_and_reset_starts_over(example: Example) -> None:
    example("seed_catalog", "--products", "50")
    first = example.values("Product.objects.order_by('pk').values_list('pk', 'sku').first()")
    assert "Created 0 rows" in example("seed_catalog", "--products", "50").stdout
    assert "Created 10 rows" in example("seed_catalog", "--products", "60").stdout
    done = example("seed_catalog", "--products", "20", "--orders", "5", "--reset", "--seed", "7")
    assert "There are now 20 products and 5 orders." in done.stdout
    again = example.values("Product.objects.order_by('pk').values_list('pk', 'sku').first()")
    assert again[0] == first[0]  # keys start at 1 again
    assert again[1] != first[1]
    assert (
        example.values(
            "Product.objects.create(sku='x', price=1, \
category=Category.objects.first()).pk"
        )
        > 20
    )


@pytest.mark.gate
@pytest.mark.parametrize(
    "arguments",
    [
        ("--products", "-1"),
        ("--products", "many"),
        ("--products", "10000000000"),
        ("--seed", "1.5"),
        ("--products", "0", "--orders", "5"),
    ],
)
def test_wrong_numbers_are_refused(sqlite_example: Example, arguments: tuple[str, ...]) -> None:
    done = sqlite_example("seed_catalog", *arguments)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert sqlite_example.values("Product.objects.count()") == 0


@pytest.mark.gate
def test_orders_and_products_can_be_found(example: Example) -> None:
    example("seed_catalog", "--products", "400", "--orders", "30")
    done = example("migrate_ai_entities", "product", "order", "--json")
    assert done.returncode == 0, done.stderr
    assert [job["status"] for job in json.loads(done.stdout)] == ["COMPLETED", "COMPLETED"]
    found = example("ai_migration", "search", "product", "wool blanket", "--limit", "3", "--json")
    hits = json.loads(found.stdout)
    assert len(hits) == 3
    assert all("blanket" in hit["text"] for hit in hits)
    assert set(hits[0]["metadata"]) == {*("sku", "price", "category__slug", "brand", "is_active")}
    order = json.loads(example("ai_migration", "search", "order", "gift", "--json").stdout)[0]
    assert order["text"].startswith("number: ORD0-")
    assert "products: " in order["text"]


@pytest.mark.gate
def test_the_project_fits_its_models_and_passes_its_checks(sqlite_example: Example) -> None:
    for arguments in (("check", "--fail-level", "WARNING"), ("makemigrations", "--check")):
        done = sqlite_example(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_config_says_nothing_that_has_no_effect() -> None:
    config = load_config(ROOT / "example_project" / "ai-entity-config.yml")
    assert inert_keys(config.document) == []
    assert list(repeated(config.document)) == []


def repeated(section: object) -> Iterator[str]:
    """The keys that repeat their default."""
    if isinstance(section, tuple):
        for item in section:
            yield from repeated(item)
    elif isinstance(section, dict):
        yield from repeated(tuple(section.values()))
    elif isinstance(section, Section):
        for name in section.model_fields_set:
            value = getattr(section, name)
            if value == type(section).model_fields[name].get_default(call_default_factory=True):
                yield name
            yield from repeated(value)


SAVES_IN_THE_ADMIN = """
from django.contrib.auth import get_user_model
from django.test import Client
from ai_migration.live import immediate
from catalog.models import Product
get_user_model().objects.create_superuser("admin", password="secret")
client = Client(HTTP_HOST="localhost")
assert client.login(username="admin", password="secret")
product = Product.objects.first()
page = f"/admin/catalog/product/{product.pk}/change/"
values = {name: getattr(product, name) for name in ("name", "sku", "brand", "price")}
values |= {"category": product.category_id, "attributes": "{}"}
values |= {"created_at_0": "2026-01-31", "created_at_1": "12:00:00"}
values |= {"description": "A submarine made of chocolate.", "_save": "Save"}
assert client.post(page, values).status_code == 302
assert immediate.wait(300)
"""


@pytest.mark.gate
def test_a_product_that_is_saved_in_the_admin_is_found(sqlite_example: Example) -> None:
    """Without a worker."""
    for command in (
        ("seed_catalog", "--products", "20", "--orders", "0"),
        ("migrate_ai_entities", "product"),
        ("shell", "--no-imports", "-c", SAVES_IN_THE_ADMIN),
    ):
        done = sqlite_example(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    found = sqlite_example("ai_migration", "search", "product", "chocolate submarine", "--json")
    assert "made of chocolate" in json.loads(found.stdout)[0]["text"]
