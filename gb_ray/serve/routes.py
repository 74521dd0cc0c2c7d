"""The endpoint's HTTP interface over a service, with no Ray in it."""

from __future__ import annotations

from fastapi import FastAPI, Request

from gb_ray.serve import problem
from gb_ray.serve.follow import Version
from gb_ray.serve.limits import parse, read_body, request_schema
from gb_ray.serve.messages import Answers, Health, ModelIdentity, Models, ServedModel
from gb_ray.serve.service import Service


def make_app(service: Service) -> FastAPI:
    """The application that answers over `service`, which has been started in the loop that runs the application."""
    app = FastAPI(title="gb_ray endpoint", docs_url=None, redoc_url=None, redirect_slashes=False)
    problem.install(app)
    _document(app)
    body = {"required": True, "content": {"application/json": {"schema": request_schema(service.section)}}}

    @app.post(
        "/v1/models/{name}/predict",
        responses=problem.documented(400, 404, 413, 422, 429, 500),
        openapi_extra={"requestBody": body},
    )
    async def predict(name: str, request: Request) -> Answers:
        """One answer a text, in order, all made by the same version."""
        known = service.current.version.name
        if name != known:
            raise problem.Problem(404, f"No model {name!r:.80} here; there is {known!r}.")
        texts = parse(await read_body(request, service.section.max_body), service.section)
        prediction = await service.predict(texts)
        return Answers(model=_identity(prediction.version), answers=prediction.answers)

    @app.get("/v1/models")
    async def models() -> Models:
        """What answers now."""
        current = service.current
        served = ServedModel(
            **_identity(current.version).model_dump(),
            uri=current.version.uri,
            tasks=current.backend.manifest["tasks"],
            problem=service.problem,
        )
        return Models(models=[served])

    @app.get("/healthz")
    async def healthz() -> Health:
        """Success means that a model is loaded."""
        return Health(model=_identity(service.current.version))

    return app


def _document(app: FastAPI) -> None:
    """Put the problem document, which no route names as its model, into the OpenAPI document."""
    plain = app.openapi

    def openapi() -> dict[str, object]:
        document = plain()
        schema = problem.ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"].update({**schema.pop("$defs"), problem.ProblemBody.__name__: schema})
        # FastAPI documents its own validation error, which no route here answers with.
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _identity(version: Version) -> ModelIdentity:
    return ModelIdentity(name=version.name, version=version.version, weights_sha256=version.weights_sha256)
