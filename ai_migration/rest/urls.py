"""The urls: ``path("api/ai/migration/", include("ai_migration.rest.urls"))``."""

from __future__ import annotations

from django.urls import path

from ai_migration.rest import documentation, views

app_name = "ai_migration"

urlpatterns = [
    path("start", views.StartView.as_view(), name="start"),
    path("plan", views.PlanView.as_view(), name="plan"),
    path("jobs", views.JobsView.as_view(), name="jobs"),
    path("jobs/<str:job_id>", views.JobView.as_view(), name="job"),
    path("jobs/<str:job_id>/pause", views.PauseView.as_view(), name="pause"),
    path("jobs/<str:job_id>/resume", views.ResumeView.as_view(), name="resume"),
    path("jobs/<str:job_id>/retry-failed", views.RetryFailedView.as_view(), name="retry-failed"),
    path("jobs/<str:job_id>/failures", views.FailuresView.as_view(), name="failures"),
    path("jobs/<str:job_id>/events", views.EventsView.as_view(), name="events"),
    path("jobs/<str:job_id>/findings", views.FindingsView.as_view(), name="findings"),
    path("entities/<str:entity_type>/verify", views.VerifyView.as_view(), name="verify"),
    path("entities", views.EntitiesView.as_view(), name="entities"),
    path("engine", views.EngineView.as_view(), name="engine"),
    path("search", views.SearchView.as_view(), name="search"),
    path("schema", documentation.SchemaView.as_view(), name="schema"),
    path("docs", documentation.DocsView.as_view(), name="docs"),
]
