"""The codes of the system checks, each with a hint."""

from __future__ import annotations

from dataclasses import dataclass

from django.core import checks

DOCUMENTATION = ""
"""The address of the published page that explains the codes; empty until there is one. A hint says
what to do without it: an installed package has no pages."""


@dataclass(frozen=True)
class Code:
    """A kind of problem that a check can find.

    Attributes:
        number: ``E001``: the letter is the level (error, warning, information).
        hint: The advice, unless a message has its own.
    """

    number: str
    hint: str

    @property
    def id(self) -> str:
        """``ai_migration.E001``."""
        return f"ai_migration.{self.number}"

    @property
    def link(self) -> str:
        """The address of its explanation; empty if it is not published."""
        return DOCUMENTATION and f"{DOCUMENTATION}#ai_migration{self.number.lower()}"

    def message(self, text: str, *, hint: str = "", obj: object = None) -> checks.CheckMessage:
        """Return a check message with this code.

        Args:
            text: The problem.
            hint: The advice; default: the code's own.
            obj: The object it is about; Django prints it before the code.
        """
        kind = {"E": checks.Error, "W": checks.Warning, "I": checks.Info}[self.number[0]]
        advice = f"{hint or self.hint} See {self.link}." if self.link else hint or self.hint
        return kind(text.replace("\0", "\\0"), hint=advice, obj=obj, id=self.id)


NO_DICT = Code("E001", "Write AI_MIGRATION = {...}, or remove it: every key is optional.")
UNKNOWN_KEY = Code("E002", "Correct the key, or remove it.")
WRONG_VALUE = Code("E003", "Correct the value, or remove the key.")
NO_DEFAULT = Code("E004", "Add the alias 'default'.")
DISPATCHER = Code(
    "E005", "Name a class without arguments that has a method wake(), or remove the key."
)

THROTTLE = Code(
    "E006", "Name a callable that returns a reason or None, or a class whose instances do so."
)
SEARCH_PERMISSION = Code(
    "E008", "Name a function that takes a user and an entity type and returns True or False."
)

QUERY_CACHE = Code("E009", "Name an alias of CACHES, or remove the key.")

BACKEND_IMPORT = Code("E010", "Correct the dotted path, or install the package it is in.")
BACKEND_TYPE = Code("E011", "Name a concrete subclass of Embedder or VectorStore.")
BACKEND_OPTIONS = Code("E012", "OPTIONS are the keyword arguments of the backend's class.")
BACKEND_LIBRARY = Code("E013", "Install the extra that the message names.")
BACKEND_CHECK = Code("E014", "The backend's check() has to return a list of check messages.")

CONFIG_MISSING = Code(
    "E020", "Create the file, correct AI_MIGRATION['ENTITY_CONFIG'], or set it to None."
)
CONFIG_WRONG = Code("E021", "Correct that line of the file, or that declaration.")
ENTITY_MODEL = Code("E022", "Write 'model: app_label.ModelName' of an installed app.")
ENTITY_FIELD = Code("E023", "Correct the name: a field, a relation's path, a property, a method.")
ENTITY_NO_TEXT = Code("E024", "Add 'embeddable-fields', 'searchable-fields' or a 'template'.")
ENTITY_TEMPLATE = Code("E025", "Correct the template: its variables are fields of the model.")
ENTITY_FILTER = Code("E026", "Correct 'filterable-fields': they are database fields.")
ENTITY_DATE = Code("E027", "Name a DateField or DateTimeField of the model.")
ENTITY_QUERYSET = Code("E028", "Name a manager of the model, or a callable by its dotted path.")
ENTITY_DATABASE = Code("E029", "Name an alias of DATABASES, or remove 'using'.")
ENTITY_EMBEDDER = Code("E030", "Name an alias of AI_MIGRATION['EMBEDDERS'].")
ENTITY_STORE = Code("E031", "Name an alias of AI_MIGRATION['STORES'].")
ENTITY_KEY = Code("E032", "Give the model a key that can be written as text.")
ENTITY_TENANT = Code("E046", "Put 'ai_migration' among TENANT_APPS, and run migrate_schemas.")
ENTITY_HTML = Code("E048", "Install it with: pip install 'django-ai-migration[html]'.")
ENTITY_ROWS = Code(
    "E049", "Correct 'filter': a database field of the model, perhaps with a look-up, and a value."
)
PSYCOPG = Code("E040", "Install it with: pip install 'django-ai-migration[pgvector]'.")

POOL = Code("E045", "Raise DATABASES[...]['OPTIONS']['pool']['max_size'], or remove 'pool'.")
TENANTS_CLUSTER = Code(
    "E047", "Remove 'DISPATCHER', and run: manage.py tenant_command ai_migration worker."
)

REST_LIBRARY = Code("E171", "Install the extra that the message names, or remove the urls.")
REST_AUTH = Code("E172", "Add them to INSTALLED_APPS: permissions need them.")

CHUNKING = Code("W020", "Make 'chunking' fit the embedder.")
ENTITY_DATA = Code("W021", "It may work once its data is there; until then its jobs do not start.")
SQLITE = Code(
    "W040",
    "Set DATABASES[...]['OPTIONS'] = {'transaction_mode': 'IMMEDIATE', 'timeout': 20, "
    "'init_command': 'PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;'}.",
)
REST_DOCS = Code("W171", "Add them to INSTALLED_APPS; the rest works without them.")
REPLICA = Code(
    "W041", "Let routers send writes of the model to an alias of its primary, or remove 'using'."
)
OTHER_EMBEDDER = Code("W050", "Rebuild the index.")
OTHER_CONFIG = Code("W051", "Bring the index in line.")
TRIGGERS = Code("W061", "Run: manage.py ai_migration triggers install.")
UNATTENDED = Code("W060", "Start a worker: manage.py ai_migration worker.")

NO_MODEL = Code("I001", "To index one of them, add its 'model'.")
INERT_KEYS = Code("I002", "They do no harm: other applications may read them.")
OTHER_MODEL = Code("I003", "Choose an alias with the key 'embedder' of an entity type.")
NOTHING = Code("I004", "Decorate a model with @ai_capable, or write ai-entity-config.yml.")

CODES = {code.number: code for code in list(globals().values()) if isinstance(code, Code)}
"""Every code of these checks by its number. Backends add codes of their own from E101 on."""
