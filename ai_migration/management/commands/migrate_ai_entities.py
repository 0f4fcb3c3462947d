"""``manage.py migrate_ai_entities``: bring rows into the index, with a progress bar."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from ai_migration.conf import NO_MESSAGES, get_settings
from ai_migration.engine.readiness import require_ready
from ai_migration.engine.recovery import recover_opportunistically
from ai_migration.entities import registry
from ai_migration.entities.filtering.moments import parse_moment
from ai_migration.exceptions import AIMigrationError, InvalidRequestError
from ai_migration.jobs.report.documents import JobStanding, Plan
from ai_migration.jobs.report.progress import duration
from ai_migration.jobs.service import migration_service
from ai_migration.management.base import (
    DONE,
    FAILED,
    JOB_HELP,
    ServiceCommand,
    add_limit_arguments,
    changes_of,
)
from ai_migration.management.filters import add_filter_argument, filters_of
from ai_migration.management.foreground import Foreground, Interrupt, resume_command
from ai_migration.management.views import summary
from ai_migration.types import (
    JobStatus,
    MigrationFilters,
    MigrationMode,
    MigrationPlan,
    MigrationProgress,
    MigrationRequest,
)
from ai_migration.words import counted


class Command(ServiceCommand):
    """The command: start migrations and work for them in the foreground."""

    help = (
        "Index the rows of entity types. Runs in the foreground with a progress bar; "
        "Ctrl-C pauses, a second one stops at once. Exit codes: 0 done, 1 done with failures or "
        "failed, 2 wrong usage."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("types", nargs="*", metavar="TYPE", help="Entity types.")
        parser.add_argument("--all", action="store_true", help="Index every entity type.")
        parser.add_argument(
            "--mode",
            choices=MigrationMode.values,
            default=MigrationMode.CHANGED.value,
            help="missing: what the index does not have; changed (default): also what differs; "
            "all: everything.",
        )
        parser.add_argument(
            "--reindex-existing", action="store_true", help="The same as --mode all."
        )
        parser.add_argument("--batch-size", type=int, metavar="N", help="Rows in a batch.")
        add_limit_arguments(parser)
        parser.add_argument(
            "--created-before", metavar="D", help="Only rows created before this date."
        )
        parser.add_argument(
            "--created-after", metavar="D", help="Only rows created on or after this date."
        )
        parser.add_argument(
            "--ids", nargs="+", default=[], metavar="ID", help="Only rows with these primary keys."
        )
        add_filter_argument(
            parser, "A lookup on a metadata field, such as category__slug=shoes; repeatable."
        )
        parser.add_argument(
            "--rebuild",
            action="store_true",
            help="Fill a new collection: after the store was lost or the embedder changed.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Print what would be done, and start nothing."
        )
        parser.add_argument(
            "--probe",
            action="store_true",
            help="With --dry-run: ask the provider for the vector of one plain text.",
        )
        parser.add_argument("--resume", metavar="JOB", help=f"Resume a job. {JOB_HELP}")
        parser.add_argument(
            "--detach", action="store_true", help="Leave the work to a worker elsewhere."
        )
        parser.add_argument(
            "--noinput", "--no-input", action="store_false", dest="interactive", help="Never ask."
        )

    def run(self, **options: Any) -> int:
        self.interrupt = Interrupt()
        if not (options["detach"] or options["dry_run"]):
            require_ready()  # before a job is started that this process could not work for
        if options["resume"] is not None:
            if options["types"] or options["all"]:
                raise InvalidRequestError("--resume takes no entity types: the job has its own")
            return self._resume(options)
        if options["probe"] and not options["dry_run"]:
            raise InvalidRequestError("--probe needs --dry-run: a job probes the provider anyway")
        requests = [self._request(name, options) for name in self._types(options)]
        if options["dry_run"]:
            probe = options["probe"]
            return self._show([migration_service.plan(each, probe=probe) for each in requests])
        if options["rebuild"] and not self._confirmed(requests, options):
            self.stderr.write("Nothing was changed.")
            return FAILED
        return self._start(requests, options)

    def _resume(self, options: dict[str, Any]) -> int:
        job_id = migration_service.find_job_id(options["resume"])
        with self.interrupt.caught():
            job = migration_service.resume_migration(
                job_id, actor="terminal", changes=changes_of(options)
            )
            return self._report([self._work(job.pk, options)], options)

    def _start(self, requests: list[MigrationRequest], options: dict[str, Any]) -> int:
        """Start one migration after the other. If one cannot start or fails, the others go on; a
        signal ends them all."""
        finished: list[MigrationProgress] = []
        refused = 0
        with self.interrupt.caught():
            for request in requests:
                try:
                    job = migration_service.start_migration(request)
                except AIMigrationError as error:
                    if len(requests) == 1:
                        raise
                    self.stderr.write(f"{request.entity_type}: {error.message}")
                    refused += 1
                    continue
                finished.append(self._work(job.pk, options))
                if self.interrupt.signal is not None:
                    break
        return self._report(finished, options) or (FAILED if refused else DONE)

    def _work(self, job_id: str, options: dict[str, Any]) -> MigrationProgress:
        """Work for a job until it ends, or leave that to other processes."""
        if options["detach"]:
            recover_opportunistically()
            progress = migration_service.get_progress(job_id)
        else:
            if not self.as_json:
                self.stdout.write(f"Job {job_id}")
            quiet, interrupt = self.as_json, self.interrupt
            progress = Foreground(job_id, self.stdout, quiet=quiet, interrupt=interrupt).run()
        if not self.as_json:
            self._tell(progress, is_detached=options["detach"])
        return progress

    def _types(self, options: dict[str, Any]) -> list[str]:
        if options["all"]:
            if options["types"]:
                raise InvalidRequestError("Name entity types or use --all, not both")
            names = registry.names()
            if not names:
                raise InvalidRequestError("No entity types are configured", field="entity_type")
            return [name for name in names if registry.get(name).definition.indexable]
        if not options["types"]:
            known = ", ".join(registry.names()) or "none are configured"
            raise InvalidRequestError(
                f"Name an entity type, or use --all. Known entity types: {known}.",
                field="entity_type",
            )
        for name in options["types"]:
            registry.get(name)  # check all names before the first is started
        return list(dict.fromkeys(options["types"]))

    def _request(self, entity_type: str, options: dict[str, Any]) -> MigrationRequest:
        return MigrationRequest(
            entity_type=entity_type,
            mode=options["mode"],
            reindex_existing=options["reindex_existing"],
            batch_size=options["batch_size"],
            rate_limit=options["rate_limit"],
            max_tokens=options["max_tokens"],
            max_cost=options["max_cost"],
            filters=MigrationFilters(
                created_before=parse_moment(options["created_before"], "created_before"),
                created_after=parse_moment(options["created_after"], "created_after"),
                entity_ids=tuple(options["ids"]),
                lookups=filters_of(options),
            ),
            rebuild=options["rebuild"],
            allow_removals=options["allow_removals"],
            created_by="terminal",
        )

    def _confirmed(self, requests: list[MigrationRequest], options: dict[str, Any]) -> bool:
        if not options["interactive"] or self.as_json or not sys.stdin.isatty():
            return True
        names = ", ".join(request.entity_type for request in requests)
        answer = input(f"Embed every row of {names} again, into a new index? [y/N] ")
        return answer.strip().lower() in {"y", "yes"}

    def _report(self, finished: list[MigrationProgress], options: dict[str, Any]) -> int:
        if self.as_json:
            documents = [JobStanding.of(progress) for progress in finished]
            self.write_json(documents[0] if len(documents) == 1 else documents)
        if self.interrupt.signal is not None:
            return 128 + self.interrupt.signal
        if options["detach"]:
            return DONE
        is_done = all(p.status == JobStatus.COMPLETED and not p.failed for p in finished)
        return DONE if is_done else FAILED

    def _tell(self, progress: MigrationProgress, *, is_detached: bool) -> None:
        self.stdout.write(summary(progress))
        job_id = progress.job_id
        if is_detached:
            if get_settings().DISPATCHER == NO_MESSAGES:
                self.stdout.write("A worker does it: manage.py ai_migration worker")
            self.stdout.write(f"Follow it with: manage.py ai_migration watch {job_id}")
        elif progress.status == JobStatus.PAUSED:
            if progress.throttle_reason:
                self.stdout.write(f"Paused: {progress.throttle_reason}.")
            self.stdout.write(f"Resume with: {resume_command(job_id)}")
        elif progress.status == JobStatus.FAILED:
            self.stdout.write(progress.error_message)
            self.stdout.write(f"Remove the cause, then: {resume_command(job_id)}")
        if progress.failed:
            self.stdout.write(
                f"See what failed: manage.py ai_migration show {job_id}; "
                f"try again: manage.py ai_migration retry-failed {job_id}"
            )

    def _show(self, plans: list[MigrationPlan]) -> int:
        is_refused = any(plan.probe and not plan.probe.is_answered for plan in plans)
        if self.as_json:
            documents = [Plan.of(plan) for plan in plans]
            self.write_json(documents[0] if len(documents) == 1 else documents)
            return FAILED if is_refused else DONE
        for plan in plans:
            about = "about " if plan.is_estimate else ""
            lines = [
                f"{plan.entity_type}: {about}{_matching(plan)}. Nothing was started.",
                f"  embed            {about}{counted(plan.to_embed, 'row')}: "
                f"{counted(plan.texts, 'text')}, about {counted(plan.tokens, 'token')}, "
                f"{counted(plan.requests, 'request')}"
                + ("" if plan.cost is None else f", {plan.cost} at the configured price"),
                f"  update metadata  {about}{plan.to_update_metadata:,}",
                f"  skip             {about}{plan.to_skip:,}",
                f"  remove           {plan.to_remove:,}",
            ]
            if plan.to_fail:
                lines.append(f"  fail             {about}{plan.to_fail:,}")
            if plan.duration is not None:
                lines.append(
                    f"  time             about {duration(plan.duration.time)}, judged by "
                    f"{plan.duration.basis.label}"
                )
            if plan.rebuild_required:
                lines.append(f"  {plan.rebuild_required} It needs --rebuild.")
            if plan.removals_refused:
                lines.append(f"  {plan.removals_refused} It needs --allow-removals for that.")
            if plan.probe is not None:
                lines.append(f"  probe            {plan.probe.error or 'the provider answers'}")
            self.stdout.write("\n".join(lines))
        return FAILED if is_refused else DONE


def _matching(plan: MigrationPlan) -> str:
    """Return the number of rows, and the total of the job's progress if it differs."""
    rows = counted(plan.rows, "row matches", "rows match")
    if not plan.to_remove:
        return rows
    return f"{rows}, {plan.to_remove:,} indexed have no row: {plan.total:,} in all"
