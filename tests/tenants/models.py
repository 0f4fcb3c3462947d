"""The tenants; their tables are in the schema ``public``."""

from __future__ import annotations

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):  # type: ignore[misc]
    name = models.CharField(max_length=100)


class Domain(DomainMixin):  # type: ignore[misc]
    pass
