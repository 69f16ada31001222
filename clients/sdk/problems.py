"""Error bodies of the service, of BentoML below it and of proxies in front of it."""

import json

LONGEST_TEXT = 200  # characters of a foreign body that are quoted


def describe(body: bytes) -> tuple[str | None, str]:
    """Find the stable code, where there is one, and a sentence for people.

    Understood are RFC 9457 problems (``code``, ``detail``, ``title``), BentoML's object with
    ``error`` and its list that holds one such object; of anything else the first words are quoted.

    Returns
    -------
    code
        None where the body is not this service's.
    detail
        Never empty.
    """
    try:
        content = json.loads(body)
    except ValueError:
        words = " ".join(body.decode(errors="replace").split())
        return None, words[:LONGEST_TEXT] or "no explanation"
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        return None, json.dumps(content)[:LONGEST_TEXT]
    code = content.get("code")
    detail = next(
        (str(content[key]) for key in ("detail", "error", "title") if content.get(key)),
        "no explanation",
    )
    if isinstance(content.get("error"), str) and content["error"] not in detail:
        detail = f"{content['error']}: {detail}"
    return (code if isinstance(code, str) else None), detail[: LONGEST_TEXT * 5]
