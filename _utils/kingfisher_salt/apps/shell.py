"""Run Python in a Django application's own shell, so that its signals and cleanups run."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any

from .application import Application, ApplicationError, without_credentials

#: Bytes of an answer.
LIMIT = 32_000_000

# One line, since a shell that takes its standard input for a keyboard would run a block before it is whole.
_LINE = 'exec(__import__("base64").b64decode("{}").decode())\n'
_WRAPPER = """
import json, sys
def _run():
    names = {{"__name__": "kingfisher_salt"}}
    try:
        exec(compile({code!r}, "kingfisher_salt", "exec"), names)
        return json.dumps({{"returned": names["main"](json.loads({arguments!r}))}}, default=str)
    except BaseException as e:
        return json.dumps({{"raised": type(e).__name__, "said": str(e)}})
sys.stdout.write("\\n" + {mark!r} + _run() + {mark!r} + "\\n")
sys.stdout.flush()
"""


class RaisedError(ApplicationError):
    """The code raised. ``type`` is the name of the exception's class, ``said`` its text, without credentials."""

    def __init__(self, text: str, type_: str, said: str) -> None:
        super().__init__(text)
        self.type = type_
        self.said = said


def python(
    app: Application, code: str, arguments: Mapping[str, Any] | None = None, timeout: float | None = None
) -> Any:
    """
    Run code in the application's ``shell``, and return what its ``main(arguments)`` returns.

    Neither the code nor the arguments are words of the command. Whatever else is written to standard output, like the
    shell's greeting and the application's log, is skipped.

    :param code: a module that defines ``main``, which takes a mapping, and returns what JSON can hold. Other values,
        like times, are returned as text
    :raises RaisedError: if it raises
    :raises ApplicationError: if the shell cannot be run, does not end in time, or gives no answer
    """
    mark = f"<{uuid.uuid4().hex}>"
    text = _WRAPPER.format(code=code, arguments=json.dumps(arguments or {}), mark=mark)
    line = _LINE.format(base64.b64encode(text.encode()).decode())
    output = app.attempt("shell", stdin=line, timeout=timeout, limit=LIMIT)
    parts = output.stdout.split(mark)
    before_answer_after = 3
    if len(parts) != before_answer_after:
        why = "its answer is too long" if output.cut else f"exit code {output.code}, {app.said(output)}"
        raise ApplicationError(
            f"{app.name}'s shell gave no answer: {why}: run its command shell by hand, by {app.place}"
        )
    answer = json.loads(parts[1])
    if "raised" in answer:
        said = without_credentials(answer["said"])
        first = (said.strip().splitlines() or [answer["raised"]])[0]
        raise RaisedError(
            f"{app.name} raised {answer['raised']}: {first}: correct it, and run this again", answer["raised"], said
        )
    return answer["returned"]
