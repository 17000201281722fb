"""The OpenAPI document as a page to read and to copy from: no scripts, nothing from elsewhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from html import escape

from shipway.serving.openinference.schemas import Json

__all__ = ["page_of"]

_STYLE = """
:root { color-scheme: light dark; --bg: #f7f7f5; --card: #fff; --ink: #1b2430; --muted: #586372; --line: #e2e5e9;
  --soft: #f1f3f5; --get: #1f6fb2; --post: #18774a; }
@media (prefers-color-scheme: dark) { :root { --bg: #11151b; --card: #191f27; --ink: #e5eaf0; --muted: #9ba7b6;
  --line: #2d3540; --soft: #222a34; --get: #6cb0f5; --post: #4fc48c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 960px; padding: 32px 24px 64px; background: var(--bg); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; letter-spacing: -.015em; margin: 0 0 4px; }
h2 { font-size: 19px; letter-spacing: -.01em; margin: 36px 0 12px; }
p { margin: 0 0 12px; max-width: 76ch; }
a { color: var(--get); }
.muted, th { color: var(--muted); }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { margin: 0; padding: 12px 14px; background: var(--soft); border-radius: 8px; white-space: pre-wrap;
  overflow-wrap: anywhere; user-select: all; -webkit-user-select: all; }
table { border-collapse: collapse; margin: 0 0 16px; }
th, td { text-align: left; vertical-align: top; padding: 4px 24px 4px 0; font-weight: 400; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 0 0 8px; }
summary { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; padding: 10px 14px; cursor: pointer; }
summary code { overflow-wrap: anywhere; font-weight: 600; }
summary span { margin-left: auto; color: var(--muted); font-size: 14px; }
details > div { padding: 4px 14px 14px; display: grid; gap: 10px; }
b { font-size: 12px; letter-spacing: .04em; width: 36px; flex: none; }
.get { color: var(--get); } .post { color: var(--post); }
"""


def page_of(document: Json, url: str) -> str:
    """Returns the page.

    Args:
        document: OpenAPI, as :mod:`.openapi` makes it.
        url: Of the server, for examples.
    """
    info, by_tag = document["info"], _by_tag(document)
    body = "".join(_section(document, tag, operations, url) for tag, operations in by_tag.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])}</h1><p class=muted>{escape(info['description'])} "
        f'The same for programs: <a href="openapi.json">openapi.json</a>. A click on an example selects all of it.</p>'
        f"{body}</body></html>"
    )


def _by_tag(document: Json) -> dict[str, list[tuple[str, str, Json]]]:
    """Returns path, method and operation of every operation, those of models first."""
    found: dict[str, list[tuple[str, str, Json]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found.setdefault("".join(operation.get("tags", ())), []).append((path, method, operation))
    return dict(sorted(found.items(), key=lambda item: item[0] == ""))


def _section(document: Json, tag: str, operations: list[tuple[str, str, Json]], url: str) -> str:
    title = f"<h2>{escape(tag)}</h2>{_features(document, operations)}" if tag else "<h2>The server</h2>"
    return title + "".join(_details(*operation, url) for operation in operations)


def _features(document: Json, operations: list[tuple[str, str, Json]]) -> str:
    """Returns the table of a model's features, which its v1 request has."""
    reference = next(o["requestBody"] for _, _, o in operations if "requestBody" in o)
    schema = document["components"]["schemas"][_json(reference)["schema"]["$ref"].rpartition("/")[2]]
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(feature['description'])}</td></tr>"
        for name, feature in schema["properties"]["instances"]["items"]["properties"].items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _details(path: str, method: str, operation: Json, url: str) -> str:
    examples = "".join(f"<pre>{escape(text)}</pre>" for text in _examples(path, method, operation, url))
    refusals = ", ".join(status for status in operation["responses"] if status != "200")
    refused = f"<div class=muted>Refused with {refusals}.</div>" if refusals else ""
    is_open = " open" if path.endswith(":predict") else ""
    return (
        f"<details{is_open}><summary><b class={method}>{method.upper()}</b><code>{escape(path)}</code>"
        f"<span>{escape(operation['summary'])}</span></summary><div>{examples}{refused}</div></details>"
    )


def _examples(path: str, method: str, operation: Json, url: str) -> Iterator[str]:
    command = ["curl", url + path]
    if "requestBody" in operation:
        example = json.dumps(_json(operation["requestBody"]).get("example", {}), ensure_ascii=False)
        command += ["-H", "content-type: application/json", "-d", example]
    elif method == "post":
        command += ["-X", "POST"]
    yield shlex.join(command)
    answer = next(iter(operation["responses"]["200"]["content"].values()))
    if "example" in answer:
        yield json.dumps(answer["example"], ensure_ascii=False, indent=2)


def _json(content: Json) -> Json:
    found: Json = content["content"]["application/json"]
    return found
