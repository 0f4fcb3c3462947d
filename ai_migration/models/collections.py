"""Collections: the generations of an entity type's vectors."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS, models
from django.db.models import Case, F, Q, When
from django.utils.translation import gettext_lazy as _

from ai_migration.models.base import OwnModel
from ai_migration.models.sql.clock import MomentField
from ai_migration.models.sql.tenants import collection_scope
from ai_migration.types import CollectionRef, CollectionStatus


class Collection(OwnModel):
    """One generation of one entity type's vectors in one store."""

    entity_type = models.CharField(_("entity type"), max_length=255)
    status = models.CharField(_("status"), max_length=10, choices=CollectionStatus)
    embedder = models.CharField(_("embedder"), max_length=100, help_text=_("Alias in EMBEDDERS."))
    model_id = models.CharField(_("model id"), max_length=255)
    dimensions = models.PositiveIntegerField(_("dimensions"))
    fingerprint = models.CharField(
        max_length=64, help_text=_("Identifies the embedder; vectors of two are never mixed.")
    )
    made_by = models.JSONField(
        null=True,
        help_text=_("Class and options of the embedder, without secrets: to make it again."),
    )
    store = models.CharField(_("store"), max_length=100, help_text=_("Alias in STORES."))
    config_snapshot = models.JSONField(
        default=dict, help_text=_("The entity's config the collection was built with.")
    )
    created_at = MomentField(auto_now_add=True)
    activated_at = MomentField(null=True)
    retired_at = MomentField(null=True)
    swept_at = MomentField(null=True, help_text=_("When changes were last looked for."))
    swept_to = MomentField(
        null=True, help_text=_("The latest change of a row that was found by then.")
    )
    compared_at = MomentField(null=True, help_text=_("When a full comparison was last due."))
    dropped_at = MomentField(
        null=True, help_text=_("When its vectors were removed: no way back to it since.")
    )
    # A unique constraint with a condition, for all databases: MySQL has none, and NULLs differ.
    role = models.GeneratedField(
        expression=Case(When(~Q(status=CollectionStatus.RETIRED), then=F("status"))),
        output_field=models.CharField(max_length=10, null=True),
        db_persist=True,
    )

    class Meta(OwnModel.Meta):
        db_table = "ai_collections"
        verbose_name = _("collection")
        verbose_name_plural = _("collections")
        constraints = [
            models.UniqueConstraint(fields=["entity_type", "role"], name="ai_collections_one_each"),
            models.CheckConstraint(
                condition=Q(status__in=CollectionStatus.values), name="ai_collections_status"
            ),
        ]
        indexes = [models.Index(fields=["entity_type", "status"], name="ai_collections_type")]

    def __str__(self) -> str:
        return f"{self.entity_type} #{self.pk} ({self.status})"

    @property
    def ref(self) -> CollectionRef:
        """The collection as stores see it."""
        scope = collection_scope(self._state.db or DEFAULT_DB_ALIAS)
        return CollectionRef(self.pk, self.entity_type, self.dimensions, scope)
