"""``manage.py ai_migration``: look at and steer jobs, search, run a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from ai_migration.conf import get_settings
from ai_migration.dispatch import get_dispatcher
from ai_migration.engine.readiness import require_ready
from ai_migration.engine.recovery import recover_opportunistically
from ai_migration.engine.rounds import supervise
from ai_migration.engine.slices.slice import SliceReport
from ai_migration.engine.worker import run_worker, settle_in
from ai_migration.entities import registry
from ai_migration.exceptions import SettingsError, nearest
from ai_migration.indexing.search import search
from ai_migration.jobs.report.documents import EntityType, Hit, Job, JobHistory, JobStanding
from ai_migration.jobs.service import migration_service
from ai_migration.management import doctor, init, triggers, verify
from ai_migration.management.base import (
    DONE,
    FAILED,
    JOB_HELP,
    ServiceCommand,
    add_limit_arguments,
    changes_of,
    positive,
)
from ai_migration.management.documents import (
    describe_hit,
    describe_progress,
    local,
    percent_of,
)
from ai_migration.management.filters import add_filter_argument, filters_of
from ai_migration.management.foreground import Foreground, Interrupt, resume_command
from ai_migration.management.processes import run_processes
from ai_migration.management.tables import table
from ai_migration.management.views import WORKED_FOR, summary
from ai_migration.models import MigrationJob
from ai_migration.models.sql.apart import own_sessions
from ai_migration.types import JobKind, JobStatus
from ai_migration.words import counted

_PASSING = frozenset({"jobs", "show", "resume", "retry-failed", "watch"})
"""Actions that show jobs or let one go on; they trigger opportunistic recovery."""


class Command(ServiceCommand):
    """The command, with a subcommand for each operation of the service."""

    help = "Look at and steer migrations, search the index, run a worker."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def action(name: str, text: str) -> CommandParser:
            added: CommandParser = actions.add_parser(name, help=text, description=text)
            ServiceCommand.add_arguments(self, added)
            return added

        jobs = action("jobs", "List jobs, newest first.")
        jobs.add_argument("--type", dest="entity_type", help="Only jobs of this entity type.")
        jobs.add_argument("--status", help="Only jobs in this state.")
        jobs.add_argument(
            "--limit", type=positive, default=20, metavar="N", help="Number of jobs, at most: 20."
        )
        for name, text in (
            ("show", "Show a job with its progress, its events and its failures."),
            ("pause", "Pause a job; the batch in flight ends."),
            ("cancel", "End a job for good; what it indexed stays."),
            ("retry-failed", "Try a job's failed entities again; a worker does it."),
            ("watch", "Follow a job that other processes work for."),
        ):
            action(name, text).add_argument("job", metavar="JOB", help=JOB_HELP)
        resume = action("resume", "Resume a paused or failed job; a worker does it.")
        resume.add_argument("job", metavar="JOB", help=JOB_HELP)
        add_limit_arguments(resume)
        entities = action("entities", "List the entity types, or print the config's schema.")
        entities.add_argument(
            "--schema", action="store_true", help="Print the JSON Schema of ai-entity-config.yml."
        )
        init.add_arguments(action("init", "Write a first ai-entity-config.yml from the models."))
        triggers.add_arguments(
            action("triggers", "Install or remove the database triggers of live changes.")
        )
        find = action("search", "Search an entity type.")
        find.add_argument("entity_type", metavar="TYPE", help="The entity type to search.")
        find.add_argument("query", metavar="WORDS", help="The meaning to look for, in quotes.")
        find.add_argument(
            "--limit", type=positive, metavar="N", help="Number of entities, at most."
        )
        add_filter_argument(
            find, "The value of a metadata field, or field__in=value,value; repeatable."
        )
        verify.add_arguments(
            action("verify", "Compare source, ledger and store; exit code 1 if they differ.")
        )
        worker = action("worker", "Work for all jobs and live changes until stopped.")
        worker.add_argument(
            "--until-idle", action="store_true", help="Stop when there is nothing to do."
        )
        worker.add_argument(
            "--slots", type=positive, default=1, metavar="N", help="Number of worker processes."
        )
        action(
            "supervise",
            "Requeue the work of dead workers, start waiting jobs, delete old jobs; for cron.",
        )
        doctor.add_arguments(
            action("doctor", "Check the set-up and the engine, and say what to do.")
        )
        action(
            "install-schedules",
            "Add a schedule to the cluster that runs the supervisor every minute.",
        )

    def run(self, **options: Any) -> int:
        actions: dict[str, Callable[..., int]] = {
            "jobs": self._jobs,
            "show": self._show,
            "pause": self._steer(migration_service.pause_migration),
            "resume": self._resume,
            "cancel": self._steer(migration_service.cancel_migration),
            "retry-failed": self._steer(migration_service.retry_failed),
            "watch": self._watch,
            "entities": self._entities,
            "init": partial(init.run, self),
            "triggers": partial(triggers.run, self),
            "search": self._search,
            "verify": partial(verify.run, self),
            "worker": self._worker,
            "supervise": self._supervise,
            "doctor": partial(doctor.run, self),
            "install-schedules": self._install_schedules,
        }
        if "job" in options:
            options["job"] = migration_service.find_job_id(options["job"])
        code = actions[options["action"]](**options)
        if options["action"] in _PASSING:
            recover_opportunistically()
        return code

    def _jobs(self, *, entity_type: str, status: str, limit: int, **_: Any) -> int:
        jobs = migration_service.list_jobs(
            entity_type=entity_type, status=status and status.upper(), limit=limit
        )
        if self.as_json:
            self.write_json([Job.of(job) for job in jobs])
            return DONE
        if not jobs and (entity_type or status):
            close = entity_type and nearest(entity_type, registry.names())
            hint = f" Did you mean {close!r}?" if close not in (None, entity_type) else ""
            self.stdout.write(f"No such jobs.{hint} See all with: manage.py ai_migration jobs")
        elif not jobs:
            self.stdout.write("No jobs. Start one with: manage.py migrate_ai_entities TYPE")
        else:
            short = migration_service.short_ids([job.pk for job in jobs])
            self.stdout.write(
                table(
                    ["job", "type", "status", "done", "rows", "failed", "created"],
                    [
                        [
                            short[job.pk],
                            job.entity_type,
                            job.status,
                            f"{percent_of(job):g} %",
                            f"{job.total_entities:,}",
                            f"{job.failed_entities:,}",
                            f"{local(job.created_at):%Y-%m-%d %H:%M}",
                        ]
                        for job in jobs
                    ],
                )
            )
        return DONE

    def _show(self, *, job: str, **_: Any) -> int:
        row = migration_service.get_job(job)
        [progress] = migration_service.get_progress_of([row])
        events = migration_service.list_events(job)
        failures = migration_service.list_failures(job, limit=20)
        if self.as_json:
            self.write_json(
                JobHistory.of_job(row, progress, events=[*events], failures=[*failures])
            )
            return DONE
        self.stdout.write(describe_progress(progress))
        if row.kind == JobKind.VERIFY:
            self.stdout.write(verify.describe(migration_service.get_findings(job)))
        self.stdout.write(
            table(
                ["when", "who", "from", "to", "why"],
                [
                    [
                        f"{local(e.at):%Y-%m-%d %H:%M:%S}",
                        *(e.actor, e.from_status, e.to_status, e.reason),
                    ]
                    for e in events
                ],
                prose=["why"],
            )
        )
        if failures:
            self.stdout.write(
                table(
                    ["entity", "error", "attempts", "message"],
                    [[f.entity_id, f.error_code, f.attempts, f.error] for f in failures],
                    prose=["message"],
                )
            )
            if progress.failed > len(failures):
                self.stdout.write(f"… and {progress.failed - len(failures):,} more")
        return DONE

    def _resume(self, **options: Any) -> int:
        resume = partial(migration_service.resume_migration, changes=changes_of(options))
        return self._steer(resume)(**options)

    def _steer(self, act: Callable[..., MigrationJob]) -> Callable[..., int]:
        def run(*, job: str, **_: Any) -> int:
            act(job, actor="terminal")
            progress = migration_service.get_progress(job)
            if self.as_json:
                self.write_json(JobStanding.of(progress))
            else:
                self.stdout.write(summary(progress))
                if progress.status in WORKED_FOR:
                    self.stdout.write(
                        f"A worker continues it: manage.py ai_migration worker. Or here: "
                        f"{resume_command(job)}"
                    )
            return DONE

        return run

    def _watch(self, *, job: str, **_: Any) -> int:
        interrupt = Interrupt()
        with interrupt.caught():
            progress = Foreground(job, self.stdout, quiet=self.as_json, interrupt=interrupt).watch()
        if self.as_json:
            self.write_json(JobStanding.of(progress))
        else:
            self.stdout.write(summary(progress))
        if interrupt.signal is not None:
            return 128 + interrupt.signal
        is_done = progress.status == JobStatus.COMPLETED and not progress.failed
        return DONE if is_done else FAILED

    def _entities(self, *, schema: bool, **_: Any) -> int:
        if schema:
            from ai_migration.entities.config.json_schema import entity_config_json_schema

            self.plain.write(json.dumps(entity_config_json_schema(), indent=2))
            return DONE
        described = migration_service.list_entities()
        if self.as_json:
            self.write_json([EntityType.of(item) for item in described])
        elif not described:
            self.stdout.write(
                "No entity types. Decorate a model with @ai_capable, or write ai-entity-config.yml."
            )
        else:
            self.stdout.write(
                table(
                    ["type", "model", "fields", "backends", "rows", "indexed", "state"],
                    [
                        [
                            item.entity_type,
                            item.model,
                            ", ".join(item.fields),
                            " → ".join(dict.fromkeys([item.embedder, item.store])),
                            item.rows_text,
                            f"{item.indexed:,}",
                            item.summary,
                        ]
                        for item in described
                    ],
                    prose=["fields", "state"],
                )
            )
        return DONE

    def _search(self, *, entity_type: str, query: str, limit: int | None, **options: Any) -> int:
        hits = search(entity_type, query, limit=limit, filters=filters_of(options))
        if self.as_json:
            self.write_json([Hit.of(hit) for hit in hits])
            return DONE
        for hit in hits:
            self.plain.write(describe_hit(hit))
        if not hits:
            self.stdout.write("Nothing was found.")
        return DONE

    def _worker(self, *, until_idle: bool, slots: int, **_: Any) -> int:
        # Report a wrong config and missing tables at once: later they would be waited for.
        registry.discover()
        require_ready()
        migration_service.list_jobs(limit=1)
        interrupt = Interrupt()
        batches = 0

        def count(report: SliceReport) -> None:
            nonlocal batches
            batches += report.batches

        if not self.as_json:
            self.stdout.write("Working. Ctrl-C stops after the batch in flight.")
            self.stdout.flush()

        def should_stop() -> bool:
            return interrupt.signal is not None

        with interrupt.caught():
            if slots > 1:
                batches = run_processes(slots, should_stop=should_stop, until_idle=until_idle)
            else:
                settle_in()
                run_worker(should_stop=should_stop, until_idle=until_idle, on_slice=count)
        if self.as_json:
            self.write_json({"batches": batches})
        else:
            self.stdout.write(f"Stopped after {counted(batches, 'batch', 'batches')}.")
            if until_idle and migration_service.list_jobs(status=JobStatus.RUNNING, limit=1):
                self.stdout.write(
                    "Some jobs are not finished: they wait for a retry, a rate limit or "
                    "another worker. List them with: manage.py ai_migration jobs"
                )
        return DONE

    def _install_schedules(self, **_: Any) -> int:
        dispatcher = get_dispatcher()
        if not dispatcher.supports_schedules:
            raise SettingsError(
                f"{get_settings().DISPATCHER} has no schedules: set AI_MIGRATION['DISPATCHER'] "
                f"to 'ai_migration.dispatchers.django_q.DjangoQDispatcher', or have cron run "
                f"'manage.py ai_migration supervise' every minute"
            )
        is_changed = dispatcher.install()
        if self.as_json:
            self.write_json({"changed": is_changed})
        else:
            self.stdout.write(
                "The cluster runs the supervisor every minute."
                if is_changed
                else "The cluster runs the supervisor every minute already."
            )
        return DONE

    def _supervise(self, **_: Any) -> int:
        with own_sessions():
            done = supervise(wait=True)
        report = done.tick
        if self.as_json:
            self.write_json(
                {
                    "recovered": report.recovered,
                    "quarantined": report.quarantined,
                    "started": report.started,
                    "deleted": done.deleted,
                    "woken": done.woken,
                }
            )
        else:
            started = f" ({', '.join(report.started)})" if report.started else ""
            self.stdout.write(
                f"Requeued {counted(report.recovered, 'entry')} of dead workers, isolated "
                f"{report.quarantined:,} that kill their workers, started "
                f"{counted(len(report.started), 'waiting job')}{started}, deleted "
                f"{counted(done.deleted, 'old job')}, woke {counted(done.woken, 'slot')}."
            )
        return DONE
