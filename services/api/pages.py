"""Pages for people, without a script and without a foreign host: every answer with its example, and every error.

They are made of the OpenAPI document itself, so they say what programs are told.
"""

import json
from collections.abc import Mapping
from html import escape
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from api.problems import KINDS, PAGES, ProblemDetails

routes = APIRouter(include_in_schema=False)

ABOUT = """The count of an election, live: every figure leads to its event on the log and to the office's document.

Numbers are integers. A share is a decimal string, beside its numerator and denominator. What is not stated is null,
which is not zero. Every answer says as of which offset of the log it is; its ETag changes when the count does. Show
nothing of an answer whose `is_test` is true. How to use it well: docs/api.md."""

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
code,pre{font:14px/1.4 ui-monospace,monospace;background:#f4f4f2}pre{padding:.8rem;overflow:auto;max-height:28rem}
table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}
h2{margin-top:3rem;border-top:1px solid #ccc;padding-top:1rem}summary{cursor:pointer}"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "public, max-age=300",
}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title="escrutinio", version=version("escrutinio"), description=ABOUT, routes=app.routes)
        problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        made["components"]["schemas"] |= {**problem.pop("$defs"), "ProblemDetails": problem}
        for of in made["paths"].values():
            for parameter in of["get"].get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
        app.openapi_schema = made
    return app.openapi_schema


@routes.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Show every address with its parameters and an example."""
    parts = [
        f"<h1>escrutinio</h1>{_paragraphs(ABOUT)}<p>For programs: <a href='/v1/openapi.json'>/v1/openapi.json</a>."
        f" Errors: <a href='{PAGES}'>{PAGES}</a>.</p>"
    ]
    parts += [_answer(path, of["get"]) for path, of in document(request.app)["paths"].items()]
    return _page("escrutinio", "".join(parts))


@routes.get(PAGES)
async def all_problems() -> HTMLResponse:
    """List the types of errors."""
    rows = "".join(
        f"<tr><td>{kind.status}<td><a href='{PAGES}{kind.name}'>{kind.name}</a><td>{escape(kind.title)}"
        for kind in KINDS.values()
    )
    return _page("Errors", f"<h1>Errors</h1><table><tr><th>status<th>type<th>title{rows}</table>")


@routes.get(PAGES + "{name}")
async def one_problem(name: str) -> HTMLResponse:
    """Explain a type of error."""
    if (kind := KINDS.get(name)) is None:
        raise HTTPException(404)
    said = f"<h1>{escape(kind.title)}</h1><p><code>{PAGES}{kind.name}</code>, status {kind.status}</p>"
    return _page(kind.title, said + _paragraphs(kind.meaning))


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be left out, which is not one that may be null."""
    given = [of for of in schema.get("anyOf", ()) if of != {"type": "null"}]
    return {**{name: of for name, of in schema.items() if name != "anyOf"}, **given[0]} if len(given) == 1 else schema


def _answer(path: str, said: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(of['name'])}</code><td>{of['in']}<td>{escape(of.get('description', ''))}"
        for of in said.get("parameters", ())
    )
    content = said["responses"]["200"]["content"]
    examples = (found for of in content.values() for found in of.get("examples", {}).values())
    shown = "".join(
        f"<p><a href='{escape(of['summary'].removeprefix('GET '))}'><code>{escape(of['summary'])}</code></a></p>"
        f"<pre>{escape(of['value'] if isinstance(of['value'], str) else _json(of['value']))}</pre>"
        for of in examples
    )
    return (
        f"<h2><code>{escape(path)}</code></h2><p>{escape(said['description'])}</p>"
        f"{f'<table>{rows}</table>' if rows else ''}<p>{escape(', '.join(content))}</p>"
        f"<details><summary>Example</summary>{shown}</details>"
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n"))


def _page(title: str, body: str) -> HTMLResponse:
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    return HTMLResponse(f"<!doctype html><html lang=en>{head}<style>{_STYLE}</style>{body}", headers=_HEADERS)
