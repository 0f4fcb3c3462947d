"""Ids of jobs as people write them: by any unambiguous beginning, and ``last``.

An id begins with its time, so the ids of jobs that were created in the same minute have the same
first eight digits.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from itertools import pairwise, takewhile
from operator import or_

from django.db.models import Q

from ai_migration.exceptions import AmbiguousJobError, UnknownJobError
from ai_migration.models import MigrationJob
from ai_migration.models.leases import our_database

LAST = "last"
"""Stands for the newest job."""
PREFIX = "mig-"
SHORTEST = len(f"{PREFIX}01a220f3")
"""Characters a short id has at least, with its prefix: a time to the minute."""
_CANDIDATES = 5


def find_job_id(words: str) -> str:
    """Return the id of the job that somebody means.

    Args:
        words: An id, any beginning of one that no other id has, both with or without ``mig-``, or
            ``last``: the newest job.

    Raises:
        UnknownJobError: There is no such job.
        AmbiguousJobError: There are several.
    """
    jobs = MigrationJob.objects.using(our_database()).order_by("-pk")
    wanted = words.strip()
    if wanted == LAST:
        found = list(jobs.values_list("pk", flat=True)[:1])
    elif not wanted or not (wanted.isascii() and wanted.isprintable()):
        found = []  # some of it no database takes
    else:
        begins = Q(pk__startswith=wanted) | Q(pk__startswith=f"{PREFIX}{wanted}")
        found = list(jobs.filter(begins).values_list("pk", flat=True)[: _CANDIDATES + 1])
    if not found:
        raise UnknownJobError(words)
    if len(found) > 1 and wanted not in found:
        raise AmbiguousJobError(words, found[:_CANDIDATES], more=len(found) > _CANDIDATES)
    return wanted if wanted in found else found[0]


def short_ids(job_ids: Collection[str]) -> dict[str, str]:
    """Return, by id, its shortest beginning that no other job's id has, without ``mig-``.

    Args:
        job_ids: Ids of a page of jobs.
    """
    if not job_ids:
        return {}
    beginnings = {job_id[:SHORTEST] for job_id in job_ids}
    near = reduce(or_, (Q(pk__startswith=each) for each in sorted(beginnings)))
    jobs = MigrationJob.objects.using(our_database()).filter(near)
    known = sorted({*jobs.values_list("pk", flat=True), *job_ids})
    lengths = dict.fromkeys(known, SHORTEST)
    for one, next_one in pairwise(known):  # sorted: the nearest two have most in common
        same = takewhile(lambda pair: pair[0] == pair[1], zip(one, next_one, strict=False))
        differs = sum(1 for _ in same) + 1
        for each in (one, next_one):
            lengths[each] = max(lengths[each], differs)
    return {each: each[: lengths[each]].removeprefix(PREFIX) for each in job_ids}
