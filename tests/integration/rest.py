"""A caller of the REST API: the urls of a host in this process."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from ai_migration.rest.documentation import openapi_document

ROOT = "/api/ai/migration"
ALL = ("view_migrationjob", "start_migrationjob", "control_migrationjob", "search_index")


class Api:
    """Calls as a user who has some permissions, and holds every answer against the OpenAPI
    document.

    Args:
        permissions: Of the user.
        name: The user's name.
    """

    def __init__(self, *permissions: str, name: str = "ops") -> None:
        self.client = APIClient(raise_request_exception=False)
        self.user = User.objects.create_user(name)
        self.user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        self.client.force_authenticate(self.user)

    def get(self, path: str, **query: Any) -> Any:
        return self._checked("get", path, self.client.get(f"{ROOT}/{path}", query))

    def post(self, path: str, body: Any = None, **headers: Any) -> Any:
        return self.send(path, b"" if body is None else json.dumps(body).encode(), **headers)

    def send(
        self, path: str, body: bytes, content_type: str = "application/json", **headers: Any
    ) -> Any:
        """Post bytes as they are."""
        answer = self.client.post(
            f"{ROOT}/{path}", body, content_type=content_type, headers=headers
        )
        return self._checked("post", path, answer)

    def delete(self, path: str) -> Any:
        return self._checked("delete", path, self.client.delete(f"{ROOT}/{path}"))

    def _checked(self, method: str, path: str, answer: Any) -> Any:
        document = openapi_document(ROOT)
        parts = path.split("/")
        if parts[0] == "jobs" and len(parts) > 1:
            parts[1] = "{job_id}"
        if parts[0] == "entities" and len(parts) > 1:
            parts[1] = "{entity_type}"
        described = document["paths"]["/" + "/".join(parts)][method]["responses"]
        assert str(answer.status_code) in described, (method, path, answer.content)
        content = described[str(answer.status_code)].get("content")
        if content is None:
            assert not answer.content
            return answer
        media_type = answer.headers["Content-Type"]
        schema = {**content[media_type]["schema"], "components": _closed(document["components"])}
        jsonschema.validate(answer.json(), schema, jsonschema.Draft202012Validator)
        return answer


def error(answer: Any) -> dict[str, Any]:
    """The one error of an answer."""
    [only] = answer.json()["errors"]
    assert isinstance(only, dict)
    return only


def _closed(schema: Any) -> Any:
    """The schema, with objects that have no other properties than those it lists."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(item) for name, item in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
