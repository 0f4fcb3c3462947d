"""The models the tests index. `ai-entity-config.yml` beside this file has their entity types."""

from __future__ import annotations

import uuid

from django.db import models


class Category(models.Model):
    name = models.CharField(max_length=100)
    slug = models.SlugField(unique=True)


class Tag(models.Model):
    name = models.CharField(max_length=100)


class Article(models.Model):
    """Integer key, relations both ways, a property and a method: entity type `article`."""

    title = models.CharField(max_length=200)
    body = models.TextField(blank=True, default="")
    price = models.DecimalField(max_digits=10, decimal_places=2, null=True)
    category = models.ForeignKey(Category, on_delete=models.SET_NULL, null=True)
    tags = models.ManyToManyField(Tag)
    attributes = models.JSONField(default=dict)
    status = models.CharField(max_length=20, default="published")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.title

    @property
    def headline(self) -> str:
        return self.title.upper()

    def summary(self) -> str:
        return f"{self.title}: {self.body[:40]}"


class ProxyArticle(Article):
    """A proxy: entity type `proxy-article`."""

    class Meta:
        proxy = True


class UnmanagedView(models.Model):
    """Not Django's to create: reads the table of Article. Entity type `view`."""

    title = models.CharField(max_length=200)
    body = models.TextField()

    class Meta:
        managed = False
        db_table = "testapp_article"


class Document(models.Model):
    """UUID key: entity type `document`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=200)
    text = models.TextField()


class Country(models.Model):
    """String key: entity type `country`."""

    code = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=100)


class TenantNote(models.Model):
    """Composite key: entity type `tenant-note`."""

    pk = models.CompositePrimaryKey("tenant_id", "number")
    tenant_id = models.IntegerField()
    number = models.IntegerField()
    text = models.TextField()


class LiveManager(models.Manager["SoftDeleted"]):
    """Hides what is deleted."""

    def get_queryset(self) -> models.QuerySet[SoftDeleted]:
        return super().get_queryset().filter(deleted=False)


class SoftDeleted(models.Model):
    """A default manager that hides rows: entity types `soft-deleted`, and
    `soft-deleted-all`, which names the other manager."""

    title = models.CharField(max_length=200)
    deleted = models.BooleanField(default=False)

    objects = LiveManager()
    all_objects = models.Manager["SoftDeleted"]()


class ParentThing(models.Model):
    title = models.CharField(max_length=200)


class ChildThing(ParentThing):
    """Multi-table inheritance: entity type `child-thing`."""

    detail = models.TextField()


class Archive(models.Model):
    """Lives in the database `other`: entity type `archive`."""

    title = models.CharField(max_length=200)
    text = models.TextField()
