"""The dry run: what a migration would do, without starting it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

from ai_migration.embedders import embedders
from ai_migration.embedders.probing import PROBE, probe
from ai_migration.entities import registry
from ai_migration.entities.entity import Entity
from ai_migration.entities.rows.paging import next_bound
from ai_migration.entities.rows.reader import EntityReader
from ai_migration.exceptions import RebuildRequiredError
from ai_migration.indexing.batches import Target, plan_rows
from ai_migration.indexing.embedding.packing import Packing
from ai_migration.indexing.embedding.retries import as_embedder_error
from ai_migration.indexing.targets import target_for
from ai_migration.jobs.feed.collections import active_collection
from ai_migration.jobs.feed.removals import refusal
from ai_migration.jobs.start.durations import SAMPLE_TEXTS, Measured, estimate
from ai_migration.jobs.start.requests import CheckedRequest, check_request
from ai_migration.jobs.values import CENT
from ai_migration.models import Collection, SearchableEntity
from ai_migration.models.jobs import MILLION
from ai_migration.models.leases import our_database
from ai_migration.pace.limits import embedder_settings
from ai_migration.stores import stores
from ai_migration.types import MigrationMode, MigrationPlan, MigrationRequest, Probe

PLAN_LIMIT = 100_000
"""Rows that are examined one by one; beyond them, the result is extrapolated."""
_PAGE = 2_000


def plan_migration(
    request: MigrationRequest,
    *,
    examine: int = PLAN_LIMIT,
    probe: bool = False,
    sample: bool = False,
) -> MigrationPlan:
    """Do a dry run: return what a start would do, and start nothing.

    Args:
        request: The request.
        examine: Rows that are examined one by one; beyond them, the result is extrapolated.
        probe: Ask the provider for the vector of one plain text, and report its answer.
        sample: Embed some texts to estimate the duration, if the embedder runs on this machine and
            no earlier job says how fast it is.

    Raises:
        AIMigrationError: As for a start.
    """
    plan = _plan(check_request(request), our_database(), examine, sample)
    return replace(plan, probe=_probe(plan.entity_type)) if probe else plan


def _plan(checked: CheckedRequest, using: str, examine: int, may_sample: bool) -> MigrationPlan:
    """Read, render and compare as the migration would, and embed nothing but a sample."""
    entity, rate_limit = checked.entity, checked.rate_limit
    target, rebuild_reason = _target(checked, using)
    total, is_estimate = checked.count()
    examined = embed = metadata = skip = fail = texts = 0
    sent = Packing(target.embedder, is_untried=target.embedder.is_remote)
    sample: list[str] = []
    began = time.monotonic()
    reader = EntityReader(entity)
    for part in checked.selections():
        lower = None
        while examined < examine:
            upper = next_bound(entity, part, lower, _PAGE)
            if upper is None:
                break
            found = reader.read(entity.key.in_range(part, lower, upper))
            lower = upper
            plan = plan_rows(target, found, entity, checked.mode, epoch=2**62, using=using)
            examined += len({row.entity_id for row in found})
            embed += len(plan.rows)
            metadata += len(plan.metadata_rows)
            skip += plan.skipped + len(plan.empty)
            fail += len(plan.failures)
            texts += len(plan.embed.texts)
            sent.add(target.embedder.count_tokens(plan.embed.texts))
            if may_sample and not sample:
                sample = list(plan.embed.texts[:SAMPLE_TEXTS])
    read = time.monotonic() - began
    scale = total / examined if examined and total > examined else 1.0
    is_estimate = is_estimate or scale > 1.0
    requests, tokens = sent.requests, sent.tokens
    limits = embedder_settings(entity.embedder)
    price = limits.PRICE_PER_MILLION_TOKENS
    share = 1 - limits.LIVE_SHARE
    minutes = [requests / rate_limit] if rate_limit else []
    if limits.REQUESTS_PER_MINUTE:
        minutes.append(requests / (limits.REQUESTS_PER_MINUTE * share))
    if limits.TOKENS_PER_MINUTE:
        minutes.append(tokens / (limits.TOKENS_PER_MINUTE * share))
    at_limit = timedelta(minutes=max(minutes) * scale) if minutes else None
    measured = Measured(
        rows=max(total, examined),
        seconds_to_read=read * scale,
        texts=round(texts * scale),
        at_limit=at_limit,
    )
    to_remove = _to_remove(checked, reader, target, using, examine)
    return MigrationPlan(
        entity_type=entity.name,
        total=max(total, examined) + to_remove,
        to_embed=round(embed * scale),
        to_update_metadata=round(metadata * scale),
        to_skip=round(skip * scale),
        to_fail=round(fail * scale),
        to_remove=to_remove,
        texts=round(texts * scale),
        tokens=round(tokens * scale),
        requests=round(requests * scale),
        cost=None if price is None else (round(tokens * scale) * price / MILLION).quantize(CENT),
        duration_at_rate_limit=at_limit,
        duration=estimate(measured, entity.name, target.embedder, sample, using),
        examined=examined,
        is_estimate=is_estimate,
        rebuild_required=rebuild_reason,
        removals_refused=_refusal(checked, using),
    )


def _probe(entity_type: str) -> Probe:
    try:
        probe(embedders[registry.get(entity_type).embedder])
    except Exception as error:
        return Probe(is_answered=False, error=as_embedder_error(error, [PROBE]).message)
    return Probe(is_answered=True)


def _refusal(checked: CheckedRequest, using: str) -> str:
    """Return why it would stop before its sweep; empty: it would not."""
    is_partial = bool(checked.filters) or checked.mode is MigrationMode.MISSING
    if checked.request.allow_removals or (is_partial and not checked.request.rebuild):
        return ""
    return refusal(checked.entity, using)


def _target(checked: CheckedRequest, using: str) -> tuple[Target, str]:
    """Return the collection it would write to, and why that has to be a new one, if it has."""
    entity = checked.entity
    active = None if checked.request.rebuild else active_collection(entity.name, using)
    if active is not None:
        try:
            return target_for(entity, active), ""
        except RebuildRequiredError as error:
            return _fresh(entity), error.fact
    return _fresh(entity), ""


def _fresh(entity: Entity) -> Target:
    embedder = embedders[entity.embedder]
    unsaved = Collection(pk=0, entity_type=entity.name, dimensions=embedder.dimensions)
    return Target(unsaved, embedder, stores[entity.store])


def _to_remove(
    checked: CheckedRequest, reader: EntityReader, target: Target, using: str, examine: int
) -> int:
    """Count the entities the sweep would remove: those in the ledger and not in the source."""
    entity = checked.entity
    if checked.filters or checked.mode is MigrationMode.MISSING or not target.collection.pk:
        return 0
    listed = SearchableEntity.objects.using(using).filter(
        collection=target.collection, chunk_count__gt=0
    )
    gone = 0
    after = ""
    looked_at = 0
    while looked_at < examine:
        page = list(
            listed.filter(entity_id__gt=after)
            .order_by("entity_id")
            .values_list("entity_id", flat=True)[:_PAGE]
        )
        if not page:
            break
        after = page[-1]
        looked_at += len(page)
        gone += len({*page} - reader.present(entity.rows(), page))
    return gone
